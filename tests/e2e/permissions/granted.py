"""What `infra/terraform/access.json` grants, in the terms of `iam`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .iam import Right

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


def roles() -> dict[str, Any]:
    """The roles as Terraform reads them."""
    found: dict[str, Any] = json.loads(ACCESS.read_text())
    return found


def _places(role: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    scope = role["scope"]
    for function, names in role["functions"].items():
        yield function, [f"{scope} {name}" for name in names] if names else [scope]
