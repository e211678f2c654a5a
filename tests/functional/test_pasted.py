"""A secret that is pasted where it does not belong comes back in no answer and is in no log line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.functional.conftest import POWER_BI, SHEETS, World
from tests.functional.receiving import SECRET, SLACK
from tests.functional.scheduling import SCHEDULE
from tests.functional.test_connectors import LOOKER

API = "/api/bi-connectors"
PASTED = "Pasted-By-Mistake_8f3e/Q=="
WORD = "pasted_by_mistake_in_small_letters"
ROWS = [{"id": 1}]
EXPORT = {"connector_name": "ymca_sheets", "table_name": "people"}
YAML = {"Content_Type": "application/yaml"}


def host_of(pasted: str) -> str:
    return f"{pasted.lower().replace('_', '-').replace('/', '.').rstrip('=')}.example.org"


def bodies(pasted: str) -> dict[str, tuple[str, str, str, Any]]:
    """Every request that is refused for what was pasted: function, method, path and body."""
    register, export, apply = (
        ("register", "POST", "/register"),
        ("export", "POST", "/export"),
        ("refresh", "POST", "/apply"),
    )
    table, channel = ("export", "PUT", "/tables/people"), ("register", "PUT", "/channels/team")
    schedules = ("refresh", "POST", "/schedules")
    return {
        "the type of a connector": (*register, {**SHEETS, "connector_type": pasted}),
        "its type in a configuration": (*apply, {"connectors": [{**SHEETS, "connector_type": pasted}]}),
        "an unknown field of a connector": (*register, {**POWER_BI, pasted: "x"}),
        "an unknown field within": (*register, {**LOOKER, "warehouse": {**LOOKER["warehouse"], pasted: 1}}),
        "an unknown field of a configuration": (*apply, {pasted: []}),
        "an unknown field of an export": (*export, {**EXPORT, "rows": ROWS, pasted: "x"}),
        "an unknown field of a target": (*export, {**EXPORT, "rows": ROWS, "target": {pasted: "x"}}),
        "an unknown field of a table": (*table, {"source": {"uri": "gs://tables/people.csv"}, pasted: "x"}),
        "a kind in a table's defaults": (
            *table,
            {"source": {"uri": "gs://tables/people.csv"}, "defaults": {"target": {pasted: {}}}},
        ),
        "an unknown field of a schedule": (*schedules, {**SCHEDULE, pasted: "x"}),
        "an unknown field of a channel": (*channel, {**SLACK, pasted: "x"}),
        "what a schedule does": (*schedules, {**SCHEDULE, "action": pasted}),
        "the mode of an export": (*export, {**EXPORT, "rows": ROWS, "mode": pasted}),
        "a row": (*export, {**EXPORT, "rows": [pasted]}),
        "the source of an export": (*export, {**EXPORT, "source": {"uri": pasted}}),
        "a bucket": (*export, {**EXPORT, "source": {"uri": f"gs://{pasted}"}}),
        "an object without a format": (*export, {**EXPORT, "source": {"uri": f"gs://tables/{pasted}"}}),
        "the source of a table": (*table, {"source": {"uri": pasted}}),
        "a source in a configuration": (*apply, {"tables": [{"name": "people", "source": {"uri": pasted}}]}),
        "the URL of a channel": (*channel, {**SLACK, "url": pasted}),
        "a scheme": (*channel, {**SLACK, "url": f"{pasted}://hooks.slack.com/"}),
        "a host": (*channel, {**SLACK, "url": f"https://{pasted}"}),
        "a host of several words": (*channel, {**SLACK, "url": f"https://{host_of(pasted)}/services"}),
        "a table of BigQuery": (*table, {"source": {"bigquery": {"table": f"{pasted}!"}}}),
        "a collection": (*table, {"source": {"firestore": {"collection": f"{pasted}//x"}}}),
        "a project": (*table, {"source": {"firestore": {"collection": "c", "project": f"{pasted}!"}}}),
        "a time zone": (*schedules, {**SCHEDULE, "timezone": pasted}),
        "a user": (*channel, {**SLACK, "url": f"https://{pasted}@hooks.slack.com/"}),
        "a path": (*channel, {**SLACK, "url": f"http://hooks.slack.com/{pasted}"}),
        "a channel's type": (*channel, {"type": pasted, "url": SLACK["url"], "secret": SECRET}),
        "an instance": (*register, {**LOOKER, "base_url": pasted}),
        "a query": ("register", "GET", f"?page_size={pasted}", None),
        "the name of a query": ("register", "GET", f"?{pasted}=1", None),
        "a key of YAML that is there twice": (*apply, f"{pasted}: 1\n{pasted}: 2\n".encode()),
        "a tag of YAML": (*apply, f"tables: !<{pasted}> [x]\n".encode()),
    }


@pytest.mark.parametrize("pasted", [PASTED, WORD])
@pytest.mark.parametrize("place", bodies("x"))
def test_what_was_pasted_is_neither_told_nor_logged(
    make_world: Callable[..., World], place: str, pasted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    world = make_world()
    for connector in (SHEETS, POWER_BI):
        world.call("register", "POST", f"{API}/register", connector)
    function, method, path, body = bodies(pasted)[place]
    answer = world.call(function, method, f"{API}{path}", body, **(YAML if isinstance(body, bytes) else {}))
    refused = answer.status in (400, 404, 422) or not answer.body["ok"]
    assert refused, answer.body
    told = world.left() + "".join(capsys.readouterr())
    assert pasted not in told
    assert host_of(pasted) not in told


def test_what_is_told_instead_is_where_it_was_and_how_it_began(world: World) -> None:
    answer = world.call("register", "POST", f"{API}/register", {**SHEETS, "connector_type": PASTED})
    assert (answer.status, answer.body["field"]) == (400, "$.connector_type")
    assert answer.body["detail"] == "Invalid value 'Pa… (26 characters)' (at $.connector_type)"
