"""The route table: every method and path, which function answers it, who may call it, what goes in and what comes out.

Dispatch, authorisation, `/openapi.json` and the local gateway all read this one table. Models and handlers are named, not
imported, so that reading the table costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

API = "/api/bi-connectors"
SMALL_BODY_BYTES = 1024 * 1024  # our choice: configuration, never data
LARGE_BODY_BYTES = 10 * 1024 * 1024  # our choice: rows in a request; a file takes any size


class Permission(StrEnum):
    """Who may call a route. `tasks` and `scheduler` are service accounts, the rest roles that include one another upwards."""

    PUBLIC = "public"
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    TASKS = "tasks"
    SCHEDULER = "scheduler"


@dataclass(frozen=True)
class Parameter:
    """A query parameter. `kind` is `string`, `integer`, `boolean` or `duration` (such as `30s`)."""

    name: str
    kind: str
    description: str


@dataclass(frozen=True)
class Route:
    """One row. `errors` are the statuses beside those that every route of its form can answer (see `openapi`)."""

    method: str
    path: str
    function: str
    permission: Permission
    handler: str
    summary: str
    request: str | None = None
    reply: str | None = None
    status: int = 200
    also: tuple[int, ...] = ()
    errors: tuple[int, ...] = ()
    query: tuple[Parameter, ...] = ()
    body_required: bool = True
    idempotency: bool = False
    if_match: bool = False
    yaml: bool = False
    reads_mark: bool = False
    """Whether its service asks for the mark of a restore itself, together with what it reads anyway."""
    max_body_bytes: int = SMALL_BODY_BYTES
    tags: tuple[str, ...] = field(default=())


PAGE = (
    Parameter("page_size", "integer", "At most this many items, 50 by default; more than 100 gives 100."),
    Parameter("page_token", "string", "`next_page_token` of the page before."),
)
OF_CONNECTOR = Parameter("connector_name", "string", "Only those of this connector.")
FORCE = Parameter(
    "force", "boolean", "Delete even while jobs run or schedules point at it; its schedules are deleted too."
)
OVERTAKEN = Parameter("force", "boolean", "Approve even if a job accepted later has published to the target since.")
SUPERSEDED = Parameter("force", "boolean", "Replay even if a job accepted later has published to the target since.")
WAIT = Parameter(
    "wait", "duration", "Hold the answer until the job changes, at most this long, e.g. `30s` (60 s at most)."
)
AUDIT_FILTERS = (
    Parameter("actor", "string", "Only what this e-mail address did, or `schedule:<id>`."),
    Parameter("action", "string", "Only this action, e.g. `connector.change`."),
    Parameter("resource", "string", "Only entries on this document, e.g. `connectors/ymca`."),
    Parameter("outcome", "string", "Only this outcome: `done`, or how a run ended."),
    Parameter("request_id", "string", "Only what this request did."),
)
DRY_RUN = Parameter("dry_run", "boolean", "Only say what would be done.")
COUNT = Parameter("count", "integer", "How many, 10 by default, at most 100.")
STATUS = Parameter("status", "string", "Only jobs of this status.")

DRY_RUN = Parameter("dry_run", "boolean", "Answer what would be created, changed and deleted, and do nothing.")
SIGNED = Parameter("signed", "boolean", "A URL of Cloud Storage, signed by IAM, instead of a link of this service.")
PRUNE = Parameter("prune", "boolean", "Delete what the sections of the configuration do not hold.")

VIEW, OPERATE, ADMIN = Permission.VIEWER, Permission.OPERATOR, Permission.ADMIN
_CONNECTORS, _EXPORTS, _REFRESHES = "shared.api.connectors", "shared.api.exports", "shared.api.refreshes"
_SCHEDULES, _CHANNELS = "shared.api.schedules", "shared.api.channels"

ROUTES: tuple[Route, ...] = (
    Route("GET", "/health", "*", Permission.PUBLIC, "shared.api.meta:health", "Tell that this function answers",
          reply="Health"),
    Route("GET", "/openapi.json", "*", VIEW, "shared.api.meta:openapi", "This function's routes as OpenAPI 3.1",
          reply="object"),
    Route("GET", "/ready", "*", VIEW, "shared.api.meta:ready", "Tell that this function can work: Firestore answers",
          reply="Ready"),
    Route("GET", "/docs", "*", VIEW, "shared.api.meta:docs", "The API of all functions as a page", reply="html"),
    Route("GET", "/problems/{code}", "*", VIEW, "shared.api.meta:problem_page", "What an error code means", reply="html"),
    Route("POST", f"{API}/register", "register", ADMIN, f"{_CONNECTORS}:register", "Register a connector",
          request="RegisterRequest", reply="Connector", status=201, also=(200,), errors=(404, 409, 422), idempotency=True),
    Route("GET", API, "register", VIEW, f"{_CONNECTORS}:list_connectors", "List connectors",
          reply="ConnectorPage", query=PAGE),
    Route("POST", f"{API}/test-all", "register", OPERATE, f"{_CONNECTORS}:test_all", "Test every connector",
          reply="TestAllResult"),
    Route("GET", f"{API}/{{name}}", "register", VIEW, f"{_CONNECTORS}:get_connector", "Get one connector",
          reply="Connector", errors=(404,)),
    Route("PATCH", f"{API}/{{name}}", "register", ADMIN, f"{_CONNECTORS}:change_connector",
          "Change a connector's configuration or credentials (JSON merge patch)",
          request="object", reply="Connector", errors=(404, 409, 412, 422, 428), if_match=True),
    Route("DELETE", f"{API}/{{name}}", "register", ADMIN, f"{_CONNECTORS}:delete_connector", "Delete a connector",
          status=204, errors=(404, 409, 412), query=(FORCE,), if_match=True),
    Route("POST", f"{API}/{{name}}/test", "register", OPERATE, f"{_CONNECTORS}:test_connector", "Test one connector",
          reply="TestResult", errors=(404,)),
    Route("GET", f"{API}/audit", "register", ADMIN, "shared.api.audit:list_entries",
          "List audit entries, newest first", reply="AuditPage", query=(*AUDIT_FILTERS, *PAGE)),
    Route("GET", f"{API}/audit:verify", "register", ADMIN, "shared.api.audit:verify",
          "Check the audit log against its seals, 20 a call", reply="AuditVerification", query=(PAGE[1],)),
    Route("PUT", f"{API}/channels/{{name}}", "register", ADMIN, f"{_CHANNELS}:put_channel",
          "Make or replace a channel that notices are sent to", request="ChannelBody", reply="Channel", also=(201,),
          errors=(409, 412, 422), if_match=True),
    Route("GET", f"{API}/channels", "register", VIEW, f"{_CHANNELS}:list_channels", "List channels",
          reply="ChannelPage", query=PAGE),
    Route("GET", f"{API}/channels/{{name}}", "register", VIEW, f"{_CHANNELS}:get_channel", "Get one channel",
          reply="Channel", errors=(404,)),
    Route("DELETE", f"{API}/channels/{{name}}", "register", ADMIN, f"{_CHANNELS}:delete_channel",
          "Delete a channel with its URL and secret", status=204, errors=(404, 412), if_match=True),
    Route("POST", f"{API}/channels/{{name}}:test", "register", OPERATE, f"{_CHANNELS}:test_channel",
          "Send a test notice to a channel", reply="ChannelTest", errors=(404,)),
    Route("POST", f"{API}/export", "export", OPERATE, f"{_EXPORTS}:start_export", "Export a table",
          request="ExportRequest", reply="Job", status=202, errors=(404, 422), idempotency=True,
          max_body_bytes=LARGE_BODY_BYTES, reads_mark=True),
    Route("GET", f"{API}/export-jobs", "export", VIEW, f"{_EXPORTS}:list_jobs", "List export jobs, newest first",
          reply="JobPage", query=(OF_CONNECTOR, STATUS, *PAGE)),
    Route("GET", f"{API}/export-jobs/{{id}}", "export", VIEW, f"{_EXPORTS}:get_job", "Get one export job",
          reply="Job", errors=(404,), query=(WAIT,)),
    Route("DELETE", f"{API}/export-jobs/{{id}}", "export", ADMIN, f"{_EXPORTS}:erase_job",
          "Erase a job that has ended, with the rows that it kept", status=204, errors=(404, 409)),
    Route("POST", f"{API}/export-jobs/{{id}}:cancel", "export", OPERATE, f"{_EXPORTS}:cancel_job",
          "Cancel a job that has not published", reply="Job", errors=(404, 409)),
    Route("POST", f"{API}/export-jobs/{{id}}:approve", "export", OPERATE, f"{_EXPORTS}:approve_job",
          "Let a held job go on", reply="Job", status=202, errors=(404, 409), query=(OVERTAKEN,)),
    Route("POST", f"{API}/export-jobs/{{id}}:reject", "export", OPERATE, f"{_EXPORTS}:reject_job",
          "End a held job", reply="Job", errors=(404, 409)),
    Route("POST", f"{API}/export-jobs/{{id}}:retry", "export", OPERATE, f"{_EXPORTS}:retry_job",
          "Start a failed or cancelled job again, from the same rows", reply="Job", status=202, errors=(404, 409, 422),
          idempotency=True),
    Route("POST", f"{API}/export-jobs/{{id}}:republish", "export", OPERATE, f"{_EXPORTS}:republish_job",
          "Publish again what a successful job froze", reply="Job", status=202, errors=(404, 409, 422), idempotency=True),
    Route("GET", f"{API}/export-jobs/{{id}}/file", "export", OPERATE, f"{_EXPORTS}:download_file",
          "Download the file that a job kept (`export_format`)", reply="file", errors=(404, 422)),
    Route("POST", f"{API}/export-jobs/{{id}}:linkFile", "export", OPERATE, f"{_EXPORTS}:link_file",
          "Make a link to the file that a job kept; it needs no identity and expires after 10 minutes", reply="FileLink",
          errors=(404, 422), query=(SIGNED,)),
    Route("GET", "/files/{id}", "export", Permission.PUBLIC, f"{_EXPORTS}:follow_link",
          "Download the file that a link leads to", reply="file", errors=(403, 404, 422, 503)),
    Route("GET", f"{API}/export-jobs/{{id}}/rejects", "export", OPERATE, f"{_EXPORTS}:list_rejects",
          "List what a job left out, and why", reply="RejectPage", errors=(404, 409, 422), query=PAGE),
    Route("POST", f"{API}/export-jobs/{{id}}:replayRejects", "export", OPERATE, f"{_EXPORTS}:replay_rejects",
          "Send again the rows that a job left out, once their cause is mended", request="ReplayRequest", reply="Job",
          status=202, errors=(404, 409, 422), query=(SUPERSEDED,), body_required=False, idempotency=True),
    Route("PUT", f"{API}/tables/{{name}}", "export", ADMIN, "shared.api.tables:put_table", "Register a table",
          request="TableBody", reply="Table", also=(201,), errors=(403, 412, 422), if_match=True),
    Route("GET", f"{API}/tables", "export", VIEW, "shared.api.tables:list_tables", "List tables",
          reply="TablePage", query=PAGE),
    Route("GET", f"{API}/tables/{{name}}", "export", VIEW, "shared.api.tables:get_table", "Get one table",
          reply="Table", errors=(404,)),
    Route("DELETE", f"{API}/tables/{{name}}", "export", ADMIN, "shared.api.tables:delete_table", "Forget a table",
          status=204, errors=(404, 412), if_match=True),
    Route("POST", f"{API}/apply", "refresh", ADMIN, "shared.api.apply:apply",
          "Apply a configuration of connectors, tables and schedules (JSON or YAML)", request="Configuration",
          reply="Applied", query=(DRY_RUN, PRUNE), yaml=True),
    Route("POST", f"{API}/{{name}}/refresh", "refresh", OPERATE, f"{_REFRESHES}:start_refresh",
          "Refresh what the BI tool computes", request="RefreshRequest", reply="RefreshRun", status=202,
          errors=(404, 422), body_required=False, idempotency=True),
    Route("GET", f"{API}/refresh-runs", "refresh", VIEW, f"{_REFRESHES}:list_runs", "List refresh runs, newest first",
          reply="RefreshRunPage", query=(OF_CONNECTOR, *PAGE)),
    Route("GET", f"{API}/refresh-runs/{{id}}", "refresh", VIEW, f"{_REFRESHES}:get_run", "Get one refresh run",
          reply="RefreshRun", errors=(404,)),
    Route("POST", f"{API}/refresh-runs/{{id}}:cancel", "refresh", OPERATE, f"{_REFRESHES}:cancel_run",
          "Cancel a refresh, where the vendor can", reply="RefreshRun", errors=(404, 409, 422, 503)),
    Route("GET", f"{API}/freshness", "refresh", VIEW, f"{_SCHEDULES}:list_freshness",
          "List how old what readers see is", reply="FreshnessPage", query=(OF_CONNECTOR, *PAGE)),
    Route("GET", f"{API}/notices", "refresh", VIEW, f"{_CHANNELS}:list_notices",
          "List notices, newest first, with what became of them on each channel", reply="NoticePage", query=PAGE),
    Route("POST", f"{API}/schedules", "refresh", OPERATE, f"{_SCHEDULES}:create_schedule", "Create a schedule",
          request="ScheduleRequest", reply="Schedule", status=201, errors=(404, 422), idempotency=True),
    Route("GET", f"{API}/schedules", "refresh", VIEW, f"{_SCHEDULES}:list_schedules", "List schedules",
          reply="SchedulePage", query=(OF_CONNECTOR, *PAGE)),
    Route("POST", f"{API}/schedules:reconcile", "refresh", ADMIN, f"{_SCHEDULES}:reconcile_schedules",
          "Mend what Firestore and Cloud Scheduler say differently", reply="Reconciliation", errors=(503,), query=(DRY_RUN,)),
    Route("GET", f"{API}/schedules/{{id}}", "refresh", VIEW, f"{_SCHEDULES}:get_schedule", "Get one schedule",
          reply="Schedule", errors=(404,)),
    Route("PATCH", f"{API}/schedules/{{id}}", "refresh", OPERATE, f"{_SCHEDULES}:change_schedule",
          "Change a schedule (JSON merge patch)", request="object", reply="Schedule", errors=(404, 412, 422, 428),
          if_match=True),
    Route("DELETE", f"{API}/schedules/{{id}}", "refresh", OPERATE, f"{_SCHEDULES}:delete_schedule", "Delete a schedule",
          status=204, errors=(404,)),
    Route("POST", f"{API}/schedules/{{id}}:pause", "refresh", OPERATE, f"{_SCHEDULES}:pause_schedule", "Pause a schedule",
          reply="Schedule", errors=(404,)),
    Route("POST", f"{API}/schedules/{{id}}:resume", "refresh", OPERATE, f"{_SCHEDULES}:resume_schedule",
          "Resume a schedule", reply="Schedule", errors=(404, 422)),
    Route("POST", f"{API}/schedules/{{id}}:runNow", "refresh", OPERATE, f"{_SCHEDULES}:run_schedule",
          "Run what a schedule does, now", reply="Occurrence", status=202, errors=(404,), idempotency=True),
    Route("GET", f"{API}/schedules/{{id}}/next", "refresh", VIEW, f"{_SCHEDULES}:next_runs",
          "List the next runs, with what the clocks do on those days", reply="PlannedRuns", errors=(404,), query=(COUNT,)),
    Route("GET", f"{API}/schedules/{{id}}/occurrences", "refresh", VIEW, f"{_SCHEDULES}:list_occurrences",
          "List what became of the planned times", reply="OccurrencePage", errors=(404,), query=PAGE),
    Route("POST", "/internal/export-jobs/{id}:run", "export_worker", Permission.TASKS, "shared.api.internal:run_job",
          "Work on an export job", request="object", status=204, errors=(404,), body_required=False),
    Route("POST", "/internal/sweep", "export_worker", Permission.SCHEDULER, "shared.api.internal:sweep",
          "Wake what nobody drives", request="object", status=204, body_required=False),
    Route("POST", "/internal/refresh-runs/{id}:look", "refresh", Permission.TASKS, "shared.api.internal:look_at_run",
          "Trigger or follow a refresh", request="object", status=204, errors=(404,), body_required=False),
    Route("POST", "/internal/notices/{id}:send", "refresh", Permission.TASKS, "shared.api.internal:send_notice",
          "Send a notice to a channel", request="object", status=204, body_required=False),
    Route("POST", "/internal/schedules/{id}:fire", "refresh", Permission.SCHEDULER, "shared.api.internal:fire_schedule",
          "See to what is due of a schedule", request="object", reply="OccurrencePage", errors=(503,), body_required=False),
    Route("POST", "/internal/freshness", "refresh", Permission.SCHEDULER, "shared.api.internal:tend_schedules",
          "See to schedules whose time has come, to how fresh their data is, and to notices of both", request="object", status=204,
          body_required=False),
)  # fmt: skip


def routes_of(function: str) -> tuple[Route, ...]:
    """Return what one function answers."""
    return tuple(route for route in ROUTES if route.function in (function, "*"))
