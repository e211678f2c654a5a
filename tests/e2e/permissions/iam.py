"""Which IAM permissions a call needs, by Google's own pages, and on what.

- Firestore: firebase.google.com/docs/firestore/security/iam, "Required permissions".
- Cloud Storage: cloud.google.com/storage/docs/access-control/iam-json. What writes without a precondition may overwrite, which
  asks for `delete`, too. Who may not list a bucket is told 403 of an object that is not there, never 404: the tables of methods do not
  say so, but clients of Google's meet it (keras-hub pull request 1667, cloud-volume pull request 260). So an answer of 404 that the
  code builds on needs `list`. An IAM condition by the name of objects cannot narrow that, as listing is asked of the bucket.
- Cloud Scheduler, Cloud Tasks, Secret Manager: no page lists them by method; it is the permission of the method's own name in
  cloud.google.com/iam/docs/roles-permissions (resuming is `enable`).
- Spans over OTLP: cloud.google.com/trace/docs/iam, role Cloud Trace Agent.
- Signed URLs: docs.cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/signBlob; those calls are seen at the
  sandbox of IAM.
- BigQuery: a query job asks for `jobs.create` and `getData` of what it reads; `EXPORT DATA` also for `tables.export`, as its
  extract jobs do, and it writes objects as its caller.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from itertools import chain
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from google.cloud import firestore_v1, scheduler_v1, secretmanager_v1, tasks_v2

from infra.local.settings import BUCKETS, PROJECT, QUEUES, SCHEDULER_SERVICE_ACCOUNT, TASKS_SERVICE_ACCOUNT

from .recorder import Call

ACT_AS = "iam.serviceAccounts.actAs"
PREFIX = "bi-"
DATABASE = f"{PREFIX}connectors"
"""Ours, as a deployment names it. `(default)` is somebody else's there."""

_BUCKETS = {name: setting.removesuffix("_BUCKET").lower() for setting, name in BUCKETS.items()}
_QUEUES = {name: name.removeprefix(PREFIX) for name in QUEUES.values()}
_ACCOUNTS = {TASKS_SERVICE_ACCOUNT: "tasks", SCHEDULER_SERVICE_ACCOUNT: "scheduler"}

Needs = Iterator[tuple[str, str]]
"""(permission, what it is asked on)"""


class UnknownCallError(Exception):
    """A call for which nobody has written down what it needs."""


@dataclass(frozen=True, order=True)
class Right:
    """A permission that a function's service account uses or holds, and on what: `queue export`, `bucket frozen`, `project`."""

    function: str
    permission: str
    on: str


def used(calls: list[Call]) -> set[Right]:
    """Every right that the calls asked for. Raises `UnknownCallError` naming the first method that is not in the tables."""
    found = set()
    for call in set(calls):
        account = call.function.replace("_", "-")
        found |= {Right(account, permission, on) for permission, on in _needs(call)}
    return found


def _needs(call: Call) -> Needs:
    if call.method in RPCS:
        message, needs = RPCS[call.method]
        return needs(message.deserialize(call.body))
    verb, _, address = call.method.partition(" ")
    at = urlsplit(address)
    for form, answer in REQUESTS:
        match = re.fullmatch(form, f"{verb} {at.path}")
        if match:
            places = {name: unquote(value) for name, value in match.groupdict().items()}
            query = {name: values[0] for name, values in parse_qs(at.query).items()}
            return chain(answer(places, query, call.body), _missing(places, call.status))
    raise UnknownCallError(f"{call.function} called {call.method}: write down in {__name__} what that needs")


# -- Firestore


def _on_database(request: Any, *permissions: str) -> Needs:
    name = getattr(request, "database", "") or request.parent.partition("/documents")[0]
    on = "database" if name == f"projects/{PROJECT}/databases/{DATABASE}" else "database of others"
    yield from ((permission, on) for permission in permissions)


def _read(request: Any) -> Needs:
    yield from _on_database(request, "datastore.entities.get")
    if getattr(request, "new_transaction", None):
        yield from _transaction(request)


def _list(request: Any) -> Needs:
    yield from _read(request)
    yield from _on_database(request, "datastore.entities.list")


def _transaction(request: Any) -> Needs:
    yield from _on_database(request, "datastore.databases.get")


def _commit(request: Any) -> Needs:
    for write in request.writes:
        if write.delete:
            yield from _on_database(request, "datastore.entities.delete")
            continue
        condition = firestore_v1.types.Precondition.pb(write.current_document)
        kind = condition.WhichOneof("condition_type")
        exists = None if kind is None else kind == "update_time" or condition.exists
        if exists is not True:
            yield from _on_database(request, "datastore.entities.create")
        if exists is not False:
            yield from _on_database(request, "datastore.entities.update")


# -- the other gRPC services


def _on_secret(permission: str, field: str = "name") -> Callable[[Any], Needs]:
    def needs(request: Any) -> Needs:
        secret = getattr(request, field).split("/secrets/")[1].split("/")[0]
        yield permission, "secrets" if secret.startswith(PREFIX) else "secrets of others"

    return needs


def _on_project(permission: str) -> Callable[[Any], Needs]:
    def needs(request: Any) -> Needs:
        yield permission, "project"
        target = getattr(getattr(request, "job", None), "http_target", None)
        if target is not None and target.oidc_token.service_account_email:
            yield ACT_AS, f"account {_ACCOUNTS[target.oidc_token.service_account_email]}"

    return needs


def _create_task(request: Any) -> Needs:
    yield "cloudtasks.tasks.create", f"queue {_QUEUES[request.parent.rpartition('/')[2]]}"
    yield ACT_AS, f"account {_ACCOUNTS[request.task.http_request.oidc_token.service_account_email]}"


_FIRESTORE, _SECRETS = firestore_v1.types, secretmanager_v1.types
_SCHEDULER, _TASKS = scheduler_v1.types, tasks_v2.types
RPCS: Mapping[str, tuple[Any, Callable[[Any], Needs]]] = {
    "google.firestore.v1.Firestore/BatchGetDocuments": (_FIRESTORE.BatchGetDocumentsRequest, _read),
    "google.firestore.v1.Firestore/RunQuery": (_FIRESTORE.RunQueryRequest, _list),
    "google.firestore.v1.Firestore/BeginTransaction": (_FIRESTORE.BeginTransactionRequest, _transaction),
    "google.firestore.v1.Firestore/Rollback": (_FIRESTORE.RollbackRequest, _transaction),
    "google.firestore.v1.Firestore/Commit": (_FIRESTORE.CommitRequest, _commit),
    **{
        f"google.cloud.secretmanager.v1.SecretManagerService/{name}": (getattr(_SECRETS, f"{name}Request"), needs)
        for name, needs in {
            "CreateSecret": _on_project("secretmanager.secrets.create"),
            "ListSecrets": _on_project("secretmanager.secrets.list"),
            "DeleteSecret": _on_secret("secretmanager.secrets.delete"),
            "AddSecretVersion": _on_secret("secretmanager.versions.add", "parent"),
            "AccessSecretVersion": _on_secret("secretmanager.versions.access"),
            "ListSecretVersions": _on_secret("secretmanager.versions.list", "parent"),
            "DestroySecretVersion": _on_secret("secretmanager.versions.destroy"),
        }.items()
    },
    **{
        f"google.cloud.scheduler.v1.CloudScheduler/{name}": (getattr(_SCHEDULER, f"{name}Request"), _on_project(needs))
        for name, needs in {
            "CreateJob": "cloudscheduler.jobs.create",
            "UpdateJob": "cloudscheduler.jobs.update",
            "DeleteJob": "cloudscheduler.jobs.delete",
            "ListJobs": "cloudscheduler.jobs.list",
            "PauseJob": "cloudscheduler.jobs.pause",
            "ResumeJob": "cloudscheduler.jobs.enable",
        }.items()
    },
    "google.cloud.tasks.v2.CloudTasks/CreateTask": (_TASKS.CreateTaskRequest, _create_task),
}

# -- HTTP

Answer = Callable[[Mapping[str, str], Mapping[str, str], bytes], Needs]


def _bucket(name: str) -> str:
    return f"bucket {_BUCKETS.get(name, 'of others')}"


def _objects(*permissions: str) -> Answer:
    def needs(at: Mapping[str, str], query: Mapping[str, str], body: bytes) -> Needs:
        for permission in permissions:
            yield f"storage.objects.{permission}", _bucket(at["bucket"])

    return needs


def _missing(at: Mapping[str, str], status: int | None) -> Needs:
    """What it takes to be told that an object is not there."""
    if status == HTTPStatus.NOT_FOUND and {"object", "source"} & at.keys():
        yield "storage.objects.list", _bucket(at.get("source") or at["bucket"])


def _insert(at: Mapping[str, str], query: Mapping[str, str], body: bytes) -> Needs:
    yield "storage.objects.create", _bucket(at["bucket"])
    if query.get("ifGenerationMatch") != "0":
        yield "storage.objects.delete", _bucket(at["bucket"])


def _rewrite(at: Mapping[str, str], query: Mapping[str, str], body: bytes) -> Needs:
    yield "storage.objects.get", _bucket(at["source"])
    yield from _insert(at, query, body)


def _nothing(at: Mapping[str, str], query: Mapping[str, str], body: bytes) -> Needs:
    """A part of an upload whose beginning was judged; looking at a job of one's own."""
    yield from ()


def _traces(at: Mapping[str, str], query: Mapping[str, str], body: bytes) -> Needs:
    yield "telemetry.traces.write", "traces"


def _table(at: Mapping[str, str], query: Mapping[str, str], body: bytes) -> Needs:
    yield "bigquery.tables.get", "datasets"


def _query(at: Mapping[str, str], query: Mapping[str, str], body: bytes) -> Needs:
    if at["project"] != PROJECT:
        raise UnknownCallError(f"a BigQuery job in {at['project']}")
    yield "bigquery.jobs.create", "queries"
    configuration = json.loads(body)["configuration"]
    statement = configuration["query"]["query"]
    yield "bigquery.tables.getData", "datasets"
    target = re.search(r"uri\s*=\s*'gs://([^/']+)/", statement)
    if statement.lstrip().upper().startswith("EXPORT DATA") and not configuration.get("dryRun"):
        if target is None:
            raise UnknownCallError(f"an EXPORT DATA that names no bucket: {statement[:200]}")
        yield "bigquery.tables.export", "datasets"
        yield "storage.objects.create", _bucket(target.group(1))
        yield "storage.objects.delete", _bucket(target.group(1))


_O = r"/storage/v1/b/(?P<bucket>[^/]+)/o"
REQUESTS: tuple[tuple[str, Answer], ...] = (
    (rf"GET {_O}", _objects("list")),
    (rf"GET (?:/download)?{_O}/(?P<object>[^/]+)", _objects("get")),
    (rf"DELETE {_O}/(?P<object>[^/]+)", _objects("delete")),
    (r"POST /storage/v1/b/(?P<source>[^/]+)/o/[^/]+/rewriteTo/b/(?P<bucket>[^/]+)/o/[^/]+", _rewrite),
    (rf"POST /upload{_O}", _insert),
    (rf"PUT /upload(?:{_O}|/resumable/.*)", _nothing),
    (r"POST /bigquery/v2/projects/(?P<project>[^/]+)/jobs", _query),
    (r"GET /bigquery/v2/projects/(?P<project>[^/]+)/jobs/(?P<job>[^/]+)", _nothing),
    (r"GET /bigquery/v2/projects/[^/]+/datasets/[^/]+/tables/[^/]+", _table),
    (r"POST /v1/traces", _traces),
)
