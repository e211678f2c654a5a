"""The lineage lines that jobs write, held to OpenLineage's own classes, which its project generates from the published schema."""

from __future__ import annotations

import importlib
import inspect
import json
import types
import typing
import uuid
from enum import Enum
from typing import Any

import attr
import pytest
from openlineage.client import event_v2
from openlineage.client.generated import base
from openlineage.client.naming.dataset import GCS, BigQuery, Postgres
from openlineage.client.serde import Serde

from shared import connectors
from shared.errors import TargetError
from shared.services.lineage import inputs_of
from tests.functional.conftest import World
from tests.functional.test_exports import ROWS, start

FACETS = {
    "processing_engine": "processing_engine_run:ProcessingEngineRunFacet",
    "errorMessage": "error_message_run:ErrorMessageRunFacet",
    "jobType": "job_type_job:JobTypeJobFacet",
    "schema": "schema_dataset:SchemaDatasetFacet",
    "inputStatistics": "input_statistics_input_dataset:InputStatisticsInputDatasetFacet",
    "outputStatistics": "output_statistics_output_dataset:OutputStatisticsOutputDatasetFacet",
}
"""Key of a facet to the class of the published one, as openlineage.io/docs/spec/facets lists them."""


def events(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    return [line["openlineage"] for line in lines if line["message"] == "lineage"]


def built(kind: Any, value: Any, key: str = "") -> Any:
    """Return the value as an object of OpenLineage's; any field too many, missing or of another type is an error."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        (kind,) = [one for one in arguments if one is not type(None)]
        return built(kind, value, key)
    if origin is list:
        return [built(arguments[0], item) for item in value]
    if origin is dict:
        return {name: built(arguments[1], item, name) for name, item in value.items()}
    if inspect.isclass(kind) and issubclass(kind, Enum):
        return kind(value)
    if not attr.has(kind):
        assert type(value) is kind, f"{key}: {value!r} is no {kind}"
        return value
    if issubclass(kind, base.BaseFacet):
        module, _, name = FACETS[key].partition(":")
        facet = getattr(importlib.import_module(f"openlineage.client.generated.{module}"), name)
        assert issubclass(facet, kind), f"{key} does not belong there"
        kind = facet
    return _object(kind, value)


def _object(kind: Any, value: dict[str, Any]) -> Any:
    scope = {**vars(importlib.import_module("openlineage.client.generated.base"))}
    hints = typing.get_type_hints(kind, {**vars(importlib.import_module(kind.__module__)), **scope})
    fields = {field.name: field for field in attr.fields(kind)}
    assert set(value) <= set(fields), f"{kind.__name__} has no {sorted(set(value) - set(fields))}"
    given = {
        field.alias: built(hints[name], value[name], name)
        for name, field in fields.items()
        if name in value and field.init
    }
    made = kind(**given)
    for name in ("schemaURL", "_schemaURL"):
        if name in fields:
            assert value[name] == kind._get_schema()
    return made


def judged(event: dict[str, Any]) -> Any:
    """Return the event, which holds all that the schema asks for and nothing that it does not know."""
    made = built(event_v2.RunEvent, event)
    assert _plain(json.loads(Serde.to_json(made))) == _plain(event)
    return made


def _plain(value: Any) -> Any:
    """Return the value without what is empty, which the client sometimes writes."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items() if item not in (None, {}, [])}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def test_a_job_writes_its_start_and_its_end_with_what_it_read_and_wrote(
    registered: World, capsys: pytest.CaptureFixture[str]
) -> None:
    registered.fakes.objects.put("tables", "people.csv", b"id,name\n1,Ada\n2,Bo\n")
    start(registered, rows=None, table_name="people")
    registered.work()
    first, last = (judged(event) for event in events(capsys))
    assert (first.eventType.value, last.eventType.value) == ("START", "COMPLETE")
    assert first.run.runId == last.run.runId
    assert uuid.UUID(first.run.runId).version == 5
    assert (last.job.namespace, last.job.name) == ("bi-connectors://fake/bi", "ymca_sheets.people")
    (read,), (written,) = last.inputs, last.outputs
    gcs = GCS(bucket_name="tables", object_key="people.csv")
    assert (read.namespace, read.name) == (gcs.get_namespace(), gcs.get_name())
    assert written.name == "people"
    assert written.namespace.startswith("https://sheets.googleapis.com/v4/spreadsheets/")
    for dataset in (read, written):
        assert [(field.name, field.type) for field in dataset.facets["schema"].fields] == [
            ("id", "int64"),
            ("name", "string"),
        ]
    assert read.inputFacets["inputStatistics"].rowCount == 2
    assert written.outputFacets["outputStatistics"].rowCount == 2


def test_a_failure_tells_its_code_and_no_value(registered: World, capsys: pytest.CaptureFixture[str]) -> None:
    registered.vendor.errors = [("preflight", TargetError("row 2, column name: 'Rina Example' is too long"))]
    start(registered)
    registered.work()
    found = events(capsys)
    last = judged(found[-1])
    assert [event["eventType"] for event in found] == ["START", "FAIL"]
    assert last.run.facets["errorMessage"].message == "target_refused"
    assert "Rina" not in json.dumps(found)
    assert "outputStatistics" not in last.outputs[0].outputFacets


def test_a_held_job_that_is_rejected_was_aborted(registered: World, capsys: pytest.CaptureFixture[str]) -> None:
    start(registered)
    registered.work()
    events(capsys)
    held = start(registered, rows=[])
    registered.work()
    registered.call("export", "POST", f"/api/bi-connectors/export-jobs/{held}:reject")
    assert [judged(event).eventType.value for event in events(capsys)] == ["START", "ABORT"]


def test_a_job_that_nobody_took_up_has_no_run(registered: World, capsys: pytest.CaptureFixture[str]) -> None:
    job = start(registered)
    registered.call("export", "POST", f"/api/bi-connectors/export-jobs/{job}:cancel")
    assert events(capsys) == []


def test_a_warehouse_table_and_a_bigquery_table_have_their_standard_names() -> None:
    warehouse = {"host": "DB.example.org", "database": "bi", "user": "u"}
    config = {"connector_type": "looker", "warehouse": warehouse}
    named = Postgres(host="db.example.org", port="5432", database="bi", schema="public", table="people")
    assert connectors.dataset_of(config, "people", {}) == (named.get_namespace(), named.get_name())
    importlib.import_module(
        "shared.connectors.power_bi.dataset"
    )  # a module of the same package, once taken for the name
    config = {"connector_type": "power_bi", "workspace_id": "w", "dataset_id": "d"}
    address = "https://api.powerbi.com/v1.0/myorg/groups/w"
    assert connectors.dataset_of(config, "people", {}) == (address, "d/people")
    table = {"project": "p", "dataset": "d", "table": "t"}
    bigquery = BigQuery(project_id="p", dataset_name="d", table_name="t")
    assert inputs_of({"kind": "bigquery", "table": table, "query": None}) == [
        (bigquery.get_namespace(), bigquery.get_name())
    ]
    assert inputs_of({"kind": "bigquery", "table": None, "query": "SELECT 1"}) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda event: event.pop("eventTime"),
        lambda event: event.update(eventTime="yesterday"),
        lambda event: event.update(eventType="DONE"),
        lambda event: event.update(extra=1),
        lambda event: event["run"].update(runId="01J"),
        lambda event: event["job"].pop("name"),
        lambda event: event["inputs"][0].pop("namespace"),
        lambda event: event["outputs"][0]["outputFacets"]["outputStatistics"].update(rowCount="2"),
        lambda event: event["outputs"][0]["facets"]["schema"]["fields"][0].pop("name"),
        lambda event: event["outputs"][0]["facets"]["schema"].update(_schemaURL="https://example.org"),
        lambda event: event["inputs"][0]["facets"].update(inputStatistics={}),
    ],
)
def test_the_judge_refuses_what_the_schema_does_not_allow(
    registered: World, capsys: pytest.CaptureFixture[str], change: Any
) -> None:
    start(registered, rows=ROWS)
    registered.work()
    event = events(capsys)[-1]
    judged(event)
    change(event)
    with pytest.raises((AssertionError, TypeError, ValueError)):
        judged(event)


def test_a_wide_table_tells_no_columns(registered: World, capsys: pytest.CaptureFixture[str]) -> None:
    start(registered, rows=[{f"c{number}": number for number in range(501)}])
    registered.work()
    assert "schema" not in events(capsys)[-1]["outputs"][0]["facets"]
