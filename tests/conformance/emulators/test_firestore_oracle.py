"""Random queries must have the same answers here and on Google's own emulator: `FIRESTORE_ORACLE=host:port`.

Google's emulator (component cloud-firestore-emulator of the Google Cloud CLI) is not a package, so this is skipped,
and says so, where it does not run.
"""

from __future__ import annotations

import datetime as dt
import math
import os
import random
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter, GeoPoint, Or

from tests.conformance.emulators.conftest import Connect

ORACLE = os.environ.get("FIRESTORE_ORACLE", "")
QUERIES = 300
FIELDS = ["a", "b", "c", "m.x"]
COMMON = [1, 2, 3, "a", "b", [1, 2], ["a"]]
# fmt: off
RARE = [
    None, True, False, 0, -1, 1.0, 1.5, 2**53 + 1, float(2**53), math.nan, math.inf, -math.inf, "", "ab", "ä", "🏠", "a\x00b",
    b"", b"a", dt.datetime(2020, 1, 1, tzinfo=dt.UTC), GeoPoint(1, 2), [], [2], ["a", None], {}, {"x": 1}, {"x": 1, "y": 1},
]
OPERATORS = ["==", "!=", "<", "<=", ">", ">=", "in", "not-in", "array_contains", "array_contains_any"]
# fmt: on

pytestmark = pytest.mark.skipif(not ORACLE, reason="FIRESTORE_ORACLE names no running Google Firestore emulator")


class Dice:
    """Random documents and queries from one seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def value(self) -> Any:
        return self._random.choice(RARE if self._random.random() < 0.4 else COMMON)

    def documents(self) -> dict[str, dict[str, Any]]:
        pick, chance = self._random.choice, self._random.random
        return {
            f"{pick(['k', 'k', 'p/1/k', 'p/q/k'])}/{pick(['d', 'D-', 'z.', 'é'])}{number}": {
                **{field: self.value() for field in "abc" if chance() < 0.8},
                **({"m": {"x": self.value()}} if chance() < 0.6 else {}),
            }
            for number in range(60)
        }

    def condition(self) -> FieldFilter:
        operator, field, value = self._random.choice(OPERATORS), self._random.choice(FIELDS), self.value()
        if operator in ("in", "not-in", "array_contains_any"):
            values = [self.value() for _ in range(self._random.randint(1, 3))]
            return FieldFilter(field, operator, values if operator != "not-in" else [one or 7 for one in values])
        if value is None or (isinstance(value, float) and math.isnan(value)):
            operator = "=="  # the client itself refuses the others
        return FieldFilter(field, operator, value)

    def plan(self) -> dict[str, Any]:
        pick, chance = self._random.choice, self._random.random
        orders = [
            (pick([*FIELDS, "__name__"]), pick(["ASCENDING", "DESCENDING"])) for _ in range(pick([0, 0, 1, 1, 2]))
        ]
        plain = orders and all(field != "__name__" for field, _ in orders)
        ends = ["start_at", "start_after", "end_at", "end_before"]
        return {
            "filters": [self.condition() for _ in range(pick([0, 1, 1, 1, 2]))],
            "any_of": [self.condition(), self.condition()] if chance() < 0.15 else None,
            "orders": orders,
            "cursor": (pick(ends), {orders[0][0]: self.value()}) if plain and chance() < 0.4 else None,
            "limit": pick([None, None, 1, 3, 5]),
            "offset": pick([0, 0, 0, 2]),
            "group": chance() < 0.2,
            "sums": chance() < 0.15,
        }


def answer(db: firestore.Client, plan: dict[str, Any]) -> object:
    query = db.collection_group("k") if plan["group"] else db.collection("k")
    for condition in plan["filters"]:
        query = query.where(filter=condition)
    if plan["any_of"]:
        query = query.where(filter=Or(plan["any_of"]))
    for field, direction in plan["orders"]:
        query = query.order_by(field, direction=direction)
    if plan["cursor"]:
        query = getattr(query, plan["cursor"][0])(plan["cursor"][1])
    query = query.offset(plan["offset"])
    query = query.limit(plan["limit"]) if plan["limit"] else query
    try:
        if plan["sums"]:
            results = query.count(alias="n").sum("a", alias="s").avg("a", alias="v").get()[0]
            return sorted((result.alias, f"{float(result.value):.9g}") for result in results)
        return [snapshot.reference.path for snapshot in query.get()]
    except exceptions.GoogleAPICallError:
        return "refused"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_queries_are_answered_as_by_google(connect: Connect, own_emulator: None, seed: int) -> None:
    dice = Dice(seed)
    ours, theirs = connect(), connect(host=ORACLE)
    for path, fields in dice.documents().items():
        ours.document(path).set(fields)
        theirs.document(path).set(fields)
    for number in range(QUERIES):
        plan = dice.plan()
        conditions = [str(condition._to_pb()) for condition in plan["filters"]]
        assert answer(ours, plan) == answer(theirs, plan), f"query {number} of seed {seed}: {plan} {conditions}"
