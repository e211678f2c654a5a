"""What a job read and wrote, as OpenLineage run events in the log: a `lineage` line whose `openlineage` is the event.

START when a worker takes the job up, then one of COMPLETE, FAIL and ABORT; a job that is cancelled before has none. A log sink hands
the lines on to whatever collects lineage. Datasets are named as openlineage.io/docs/spec/naming says where it names them: files,
BigQuery, Postgres; a Power BI table, a tab and a collection by the address of their API. Column names are in an event, values never:
an error is its code alone. Of a BigQuery query no inputs are named, for only BigQuery knows them.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from shared import connectors as kinds
from shared.config import VERSION
from shared.models import JobStatus
from shared.ports import Documents
from shared.telemetry import log_event

PRODUCER = f"urn:bi-connectors:{VERSION}"
SPEC = "https://openlineage.io/spec"
MOST_COLUMNS = 500  # our choice: an event with two schemas stays below the 256 KB of one log entry
ENDS = {JobStatus.SUCCESS: "COMPLETE", JobStatus.FAILED: "FAIL", JobStatus.CANCELLED: "ABORT"}


class Dataset(NamedTuple):
    """A dataset's name: `namespace` is where it is, `name` what it is called there."""

    namespace: str
    name: str


class Lineage:
    """Writes the events of one deployment's jobs, all in one `namespace`."""

    def __init__(self, documents: Documents, namespace: str) -> None:
        self._documents = documents
        self._namespace = namespace

    def started(self, job: Mapping[str, Any]) -> None:
        """Tell that work on a job began."""
        self._write("START", job, job["started_at"])

    def ended(self, job: Mapping[str, Any]) -> None:
        """Tell how a job ended, if a worker had taken it up."""
        if job.get("started_at"):
            self._write(ENDS[JobStatus(job["status"])], job, job["completed_at"])

    def _write(self, kind: str, job: Mapping[str, Any], at: datetime) -> None:
        run_facets = {
            "processing_engine": _facet("1-1-1/ProcessingEngineRunFacet", name="BI connectors", version=VERSION)
        }
        if kind == "FAIL":
            run_facets["errorMessage"] = _facet(
                "1-0-1/ErrorMessageRunFacet",
                message=(job.get("error") or {}).get("code", ""),
                programmingLanguage="PYTHON",
            )
        event = {
            "eventType": kind,
            "eventTime": at.isoformat(),
            "producer": PRODUCER,
            "schemaURL": f"{SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent",
            "run": {
                "runId": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self._namespace}/{job['id']}")),
                "facets": run_facets,
            },
            "job": {
                "namespace": self._namespace,
                "name": f"{job['connector_name']}.{job['table_name']}",
                "facets": {
                    "jobType": _facet(
                        "2-0-4/JobTypeJobFacet", processingType="BATCH", integration="BI_CONNECTORS", jobType="EXPORT"
                    )
                },
            },
            "inputs": [_input(job, dataset) for dataset in inputs_of(job["source"])],
            "outputs": [_output(job, self._output_of(job))],
        }
        log_event("lineage", job_id=job["id"], openlineage=event)

    def _output_of(self, job: Mapping[str, Any]) -> Dataset:
        """Return what a job writes to, by what its connector says now."""
        found = self._documents.get(f"connectors/{job['connector_name']}")
        if found is None:
            return Dataset(f"{self._namespace}/{job['connector_name']}", job["table_name"])
        return Dataset(*kinds.dataset_of(found.data["config"], job["table_name"], job["target"]))


def inputs_of(source: Mapping[str, Any]) -> list[Dataset]:
    """Return the datasets that a job's source names."""
    match source:
        case {"kind": "bigquery", "table": {"project": project, "dataset": dataset, "table": table}}:
            return [Dataset("bigquery", f"{project}.{dataset}.{table}")]
        case {"kind": "firestore", "project": project, "database": database, "collection": collection}:
            return [Dataset(f"https://firestore.googleapis.com/v1/projects/{project}/databases/{database}", collection)]
        case {"kind": "file", "bucket": bucket, "name": name}:
            return [Dataset(f"gs://{bucket}", name)]
        case {"kind": "files", "uri": uri}:
            bucket, _, name = str(uri).removeprefix("gs://").partition("/")
            return [Dataset(f"gs://{bucket}", name)]
    return []


def _input(job: Mapping[str, Any], dataset: Dataset) -> dict[str, Any]:
    found = json.loads(job["scan"]) if job.get("scan") else None
    counted = (
        {}
        if found is None
        else {"inputStatistics": _facet("1-0-0/InputStatisticsInputDatasetFacet", rowCount=found["rows"])}
    )
    return {**dataset._asdict(), "facets": _schema(found), "inputFacets": counted}


def _output(job: Mapping[str, Any], dataset: Dataset) -> dict[str, Any]:
    scan = job.get("prepared_scan") or job.get("scan")
    counted = {}
    if job["status"] == JobStatus.SUCCESS.value:
        counted["outputStatistics"] = _facet("1-0-2/OutputStatisticsOutputDatasetFacet", rowCount=job["record_count"])
    return {**dataset._asdict(), "facets": _schema(json.loads(scan) if scan else None), "outputFacets": counted}


def _schema(scan: Mapping[str, Any] | None) -> dict[str, Any]:
    if scan is None or len(scan["columns"]) > MOST_COLUMNS:
        return {}
    fields = [{"name": name, "type": kind} for name, kind in scan["columns"]]
    return {"schema": _facet("1-2-0/SchemaDatasetFacet", fields=fields)}


def _facet(schema: str, **fields: Any) -> dict[str, Any]:
    name = schema.partition("/")[2]
    return {"_producer": PRODUCER, "_schemaURL": f"{SPEC}/facets/{schema}.json#/$defs/{name}", **fields}
