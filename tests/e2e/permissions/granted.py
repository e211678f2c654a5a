"""What `infra/terraform/access.json` grants, and what the guide grants by hand, in the terms of `iam`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from infra.check.guide import Asked

from .iam import PREFIX, Right

BY_HAND = {
    "roles/datastore.viewer": (
        "database of others",
        ("datastore.databases.get", "datastore.entities.get", "datastore.entities.list"),
    ),
    "roles/secretmanager.secretAccessor": ("secrets of others", ("secretmanager.versions.access",)),
}
"""Google's own roles that people grant for what is not ours; of each, what our functions could use."""

ACCESS = Path(__file__).resolve().parents[3] / "infra" / "terraform" / "access.json"


def granted(roles: Mapping[str, Any]) -> set[Right]:
    """Every right that the roles give to a function's service account."""
    return {
        Right(function, permission, on)
        for role in roles.values()
        for function, places in _places(role)
        for permission in role["permissions"]
        for on in places
    }


def granted_by_hand(step: Iterable[Asked]) -> set[Right]:
    """Every right that a step of the guide gives to a function's service account by gcloud, on what is not ours."""
    found = set()
    for asked in step:
        flags = dict(word.split("=", 1) for word in asked.words if word.startswith(("--member=", "--role=")))
        on, permissions = BY_HAND[flags["--role"]]
        name = flags["--member"].removeprefix(f"serviceAccount:{PREFIX}").partition("@")[0]
        found |= {Right(name, permission, on) for permission in permissions}
    return found


def roles() -> dict[str, Any]:
    """The roles as Terraform reads them."""
    found: dict[str, Any] = json.loads(ACCESS.read_text())
    return found


def _places(role: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    scope = role["scope"]
    for function, names in role["functions"].items():
        yield function, [f"{scope} {name}" for name in names] if names else [scope]
