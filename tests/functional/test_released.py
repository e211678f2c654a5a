"""No change breaks a client of the released API description."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.functional.conftest import World
from tests.released import FOLDER, FUNCTIONS, broken

API = "/api/bi-connectors"
Json = dict[str, Any]


def released(function: str) -> Json:
    document: Json = json.loads((FOLDER / f"{function}.json").read_text())
    return document


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_released_contract_is_kept(world: World, function: str) -> None:
    found = broken(released(function), world.call(function, "GET", "/openapi.json").body)
    assert found == [], "a client could trip over this; if none can have used it yet: python -m tests.released"


def _gone(document: Json) -> None:
    del document["paths"][f"{API}/export"]


def _harder(document: Json) -> None:
    document["paths"][f"{API}/export"]["post"]["x-permission"] = "admin"


def _required(document: Json) -> None:
    document["components"]["schemas"]["ExportRequest"]["required"].append("mode")


def _member_gone(document: Json) -> None:
    del document["components"]["schemas"]["ExportRequest"]["properties"]["export_format"]


def _reply_member_gone(document: Json) -> None:
    del document["components"]["schemas"]["Job"]["properties"]["record_count"]


def _status_gone(document: Json) -> None:
    del document["paths"][f"{API}/export"]["post"]["responses"]["404"]


def _enum_narrowed(document: Json) -> None:
    document["components"]["schemas"]["Mode"]["enum"].remove("append")


def _parameter_gone(document: Json) -> None:
    operation = document["paths"][f"{API}/export-jobs/{{id}}"]["get"]
    operation["parameters"] = [item for item in operation["parameters"] if item["name"] != "wait"]


@pytest.mark.parametrize(
    "change",
    [_gone, _harder, _required, _member_gone, _reply_member_gone, _status_gone, _enum_narrowed, _parameter_gone],
)
def test_a_breaking_change_is_found(change: Callable[[Json], None]) -> None:
    old = released("export")
    new = copy.deepcopy(old)
    change(new)
    assert broken(old, new) != []


def test_an_addition_breaks_nothing() -> None:
    old = released("export")
    new = copy.deepcopy(old)
    new["paths"]["/api/bi-connectors/new"] = {}
    new["components"]["schemas"]["ExportRequest"]["properties"]["hint"] = {"type": "string"}
    new["components"]["schemas"]["Job"]["properties"]["hint"] = {"type": "string"}
    assert broken(old, new) == []
