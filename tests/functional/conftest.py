"""Services on the fakes, driven through the real dispatcher."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import flask
import pytest
from werkzeug.exceptions import HTTPException
from werkzeug.test import create_environ

from shared.api.dispatch import Function
from shared.api.openapi import statuses_of
from shared.api.problem_codes import meanings
from shared.api.problems import MEDIA_TYPE
from shared.bootstrap import Services
from shared.config import read_settings
from shared.connectors._base import Runtime
from shared.services.connectors import Connectors
from tests.canaries import shown_in
from tests.fakes.connector import InMemoryConnector, InMemoryVendor
from tests.fakes.stores import InMemoryStores

ENVIRONMENT = {
    "ENVIRONMENT": "local",
    "GOOGLE_CLOUD_PROJECT": "fake",
    "LOCATION": "us-central1",
    "REGISTER_URL": "http://register",
    "EXPORT_URL": "http://export",
    "EXPORT_WORKER_URL": "http://worker",
    "REFRESH_URL": "http://refresh",
    "TASKS_SERVICE_ACCOUNT": "tasks@fake.iam",
    "SCHEDULER_SERVICE_ACCOUNT": "scheduler@fake.iam",
    "TABLES_BUCKET": "tables",
    "FROZEN_BUCKET": "frozen",
    "EXPORTS_BUCKET": "exports",
}
POWER_BI = {
    "name": "ymca_powerbi",
    "connector_type": "power_bi",
    "tenant_id": "72f988bf-86f1-41af-91ab-2d7cd011db47",
    "client_id": "your-client-id",
    "workspace_id": "f089354e-8366-4e18-aea3-4cb4a3a50b48",
    "refresh_dataset_id": "cfafbeb1-8037-4d0c-896e-a46fb27ff229",
    "client_secret": "s3cret-value-of-the-app",
}
ON_CLOUD_RUN = {"ENVIRONMENT": "production", "K_SERVICE": "fake", "CLOUD_RUN_CHECKS_CALLERS": "true"}
SHEETS = {
    "name": "ymca_sheets",
    "connector_type": "google_sheets",
    "spreadsheet_id": "1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs74OgvE2upms",
    "service_account_key": {
        "type": "service_account",
        "private_key": "-----BEGIN PRIVATE KEY-----\ncanary-of-the-key-file\n",
        "client_email": "a@b",
    },
}


def unsigned(claims: Mapping[str, Any]) -> str:
    """Return a token as Cloud Run hands it on: whatever its signature was, it has none any more."""
    now = int(time.time())
    parts = ({"alg": "RS256", "typ": "JWT"}, {"iat": now, "exp": now + 3600, **claims})
    written = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return f"{'.'.join(written)}.SIGNATURE_REMOVED_BY_GOOGLE"


@dataclass
class Answer:
    status: int
    body: Any
    headers: dict[str, str]


@dataclass
class World:
    """The functions over fakes; `claims` says what a bearer token stands for."""

    environ: dict[str, str]
    fakes: InMemoryStores = field(default_factory=InMemoryStores)
    vendor: InMemoryVendor = field(default_factory=InMemoryVendor)
    claims: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers: list[str] = field(default_factory=list)
    is_itself: bool = True
    """Whether its handlers are ours, so that every status they answer must be documented."""

    def __post_init__(self) -> None:
        services = Services(read_settings(self.environ), self.fakes.stores())
        runtime = Runtime(self.fakes.clock)
        vendor = self.vendor
        connectors = Connectors(
            services.stores, "bi", runtime, load=lambda config, secrets, runtime: InMemoryConnector(vendor)
        )
        services.__dict__["connectors"] = connectors  # what bootstrap would have built
        self.services = services
        self._functions = {
            name: Function(name, lambda: services) for name in ("register", "export", "export_worker", "refresh")
        }
        from shared.api.auth import Authenticator

        for name, function in self._functions.items():
            function._authenticators[name] = Authenticator(
                services.settings, services.settings.urls[name], self._verify
            )

    def _verify(self, token: str, audiences: Sequence[str]) -> dict[str, Any]:
        from shared.errors import UnauthenticatedError

        claims = self.claims.get(token)
        if claims is None or claims["aud"] not in audiences:
            raise UnauthenticatedError("the ID token does not verify")
        return claims

    def call(self, function: str, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body)
        media = sent.pop("Content-Type", "application/json")
        environ = create_environ(
            path, method=method, data=data, content_type=media if data is not None else None, headers=sent
        )
        response = self._functions[function](flask.Request(environ))
        text = response.get_data(as_text=True)
        self.answers.append(f"{text} {dict(response.headers)}")
        self._require_documented(function, method, path, response.status_code)
        if response.mimetype == MEDIA_TYPE:
            assert json.loads(text)["code"] in meanings(), f"this code has no page: {text}"
        return Answer(response.status_code, json.loads(text) if text else None, dict(response.headers))

    def _require_documented(self, function: str, method: str, path: str, status: int) -> None:
        """Every status that a route answers is one that the route table says; a path without a route has none to say."""
        adapter = self._functions[function]._map.bind("", path_info=create_environ(path)["PATH_INFO"])
        try:
            route, _ = adapter.match(method=method)
        except HTTPException:
            return
        if self.is_itself and route.function in (function, "*"):
            documented = {route.status, *route.also} | statuses_of(route)
            assert status in documented, f"{method} {route.path} answered {status}; it documents {sorted(documented)}"

    def status(self, function: str, method: str, path: str, body: Any, **headers: str) -> int:
        """Return the status alone, of an answer of any type."""
        data = None if body is None else json.dumps(body)
        environ = create_environ(path, method=method, data=data, content_type="application/json", headers=headers)
        return self._functions[function](flask.Request(environ)).status_code

    def page(self, function: str, path: str) -> str:
        """GET a page of HTML."""
        response = self._functions[function](flask.Request(create_environ(path)))
        assert (response.status_code, response.mimetype) == (200, "text/html")
        return response.get_data(as_text=True)

    def left(self) -> str:
        """Return everything that this world has stored or answered, but for Secret Manager."""
        fakes = self.fakes
        kept = [repr(fakes.documents._documents), repr(fakes.tasks.pending), repr(fakes.cron_jobs.jobs)]
        return "\n".join([*kept, repr(fakes.objects._live), *self.answers])

    def work(self) -> None:
        """Run every enqueued task until none is left, as Cloud Tasks would, each at its time."""
        for _ in range(100):
            if not self.fakes.tasks.pending:
                return
            self.work_once()
        raise AssertionError("the tasks never end")

    def work_once(self, *, newest: bool = False) -> None:
        """Run one enqueued task, at its time."""
        task = self.fakes.tasks.pending.pop(-1 if newest else 0)
        if task.at is not None and task.at > self.fakes.clock.now():
            self.fakes.clock.sleep((task.at - self.fakes.clock.now()).total_seconds())
        origin, _, path = task.url.removeprefix("http://").partition("/")
        function = {"worker": "export_worker", "refresh": "refresh"}[origin]
        answer = self.call(function, "POST", f"/{path}", dict(task.body), Authorization=self._bearer("tasks", origin))
        assert answer.status == 204, answer.body

    def work_through(self, tasks: int, pause_s: float) -> None:
        """Run so many tasks, each at its time; a fault of ours is tried again after a pause, as Cloud Tasks does."""
        for _ in range(tasks):
            if not self.fakes.tasks.pending:
                return
            task = self.fakes.tasks.pending[0]
            try:
                self.work_once()
            except AssertionError:
                self.fakes.tasks.pending.append(task)
                self.fakes.clock.sleep(pause_s)

    def sweep(self) -> None:
        """Do what Cloud Scheduler does every five minutes."""
        answer = self.call(
            "export_worker", "POST", "/internal/sweep", {}, Authorization=self._bearer("scheduler", "worker")
        )
        assert answer.status == 204, answer.body

    def minute(self) -> None:
        """Do what Cloud Scheduler does every minute."""
        answer = self.call(
            "refresh", "POST", "/internal/freshness", {}, Authorization=self._bearer("scheduler", "refresh")
        )
        assert answer.status == 204, answer.body

    def fire(self, schedule_id: str, planned: str) -> Answer:
        """Do what Cloud Scheduler does at a planned time."""
        path = f"/internal/schedules/{schedule_id}:fire"
        headers = {
            "Authorization": self._bearer("scheduler", "refresh"),
            "X-CloudScheduler-ScheduleTime": planned,
        }
        return self.call("refresh", "POST", path, {}, **headers)

    def go_to(self, moment: str) -> None:
        """Move the clock forward to a time in RFC 3339."""
        self.fakes.clock.sleep((datetime.fromisoformat(moment) - self.fakes.clock.now()).total_seconds())

    def _bearer(self, who: str, origin: str) -> str:
        issuer = "https://accounts.google.com"
        claims = {"aud": f"http://{origin}", "iss": issuer, "email": f"{who}@fake.iam", "email_verified": True}
        self.claims[f"{who}.{origin}"] = claims
        return f"Bearer {who}.{origin}"


@pytest.fixture
def make_world() -> Iterator[Callable[..., World]]:
    """Make worlds; afterwards no document, task, object or answer of theirs may hold a canary."""
    made: list[World] = []

    def make(**environ: str) -> World:
        made.append(World({**ENVIRONMENT, **environ}))
        return made[-1]

    yield make
    assert [canary for world in made for canary in shown_in(world.left())] == []


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()


@pytest.fixture
def registered(world: World) -> World:
    assert world.call("register", "POST", "/api/bi-connectors/register", POWER_BI).status == 201
    assert world.call("register", "POST", "/api/bi-connectors/register", SHEETS).status == 201
    return world


@pytest.fixture
def schedules(registered: World) -> World:
    """Two connectors, and a file that an export finds by the name `people`."""
    registered.fakes.objects.put("tables", "people.csv", b"id\n1\n")
    return registered
