"""Firestore refuses a query that filters and orders by different fields unless its composite index exists; so do the fakes.

Rule: firebase.google.com/docs/firestore/query-data/index-overview. Equality filters alone are answered from single-field indexes;
indexes that end alike are merged, so that one for each filter answers every combination of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from shared.ports import Query

TERRAFORM = Path(__file__).resolve().parents[2] / "infra" / "terraform"


def missing_index(query: Query) -> str | None:
    """Return the line that `infra/terraform/indexes.json` lacks for a query, None if nothing is missing."""
    needed = index_for(query)
    if needed is None:
        return None
    collection, equal, last = needed
    mergeable = [have for name, have, end in declared() if name == collection and end == last and have <= equal]
    if frozenset().union(*mergeable) == equal:
        return None
    fields = [[name, "ASCENDING"] for name in sorted(equal)] + [list(last)]
    return json.dumps({"collection": collection, "fields": fields})


def index_for(query: Query) -> tuple[str, frozenset[str], tuple[str, str]] | None:
    """Return (collection, fields asked for equality, last field and direction) of the composite index that a query needs."""
    equal = frozenset(name for name, operator, _ in query.where if operator in ("==", "in"))
    ranged = {name for name, operator, _ in query.where if operator not in ("==", "in")}
    last = query.order_by or next(iter(sorted(ranged)), None)
    if last is None or not (equal - {last}):
        return None
    direction = "DESCENDING" if query.descending else "ASCENDING"
    return query.collection.rsplit("/", 1)[-1], equal - {last}, (last, direction)


@cache
def declared() -> frozenset[tuple[str, frozenset[str], tuple[str, str]]]:
    """Return the indexes that Terraform makes."""
    found = set()
    for index in json.loads((TERRAFORM / "indexes.json").read_text()):
        *equal, (last, direction) = index["fields"]
        found.add((index["collection"], frozenset(name for name, _ in equal), (last, direction)))
    return frozenset(found)


def missing_expiry(path: str, data: Mapping[str, Any]) -> str | None:
    """Return the collection of a document that expires though no TTL would delete it, None if all is well."""
    collection = path.split("/")[-2]
    return collection if data.get("expire_at") is not None and collection not in expiring() else None


@cache
def expiring() -> frozenset[str]:
    """Return the collections whose documents Firestore deletes at `expire_at`."""
    return frozenset(json.loads((TERRAFORM / "expiring.json").read_text()))
