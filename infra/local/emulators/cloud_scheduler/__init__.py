"""Cloud Scheduler on loopback: the gRPC service, its SQLite file, and the threads that really fire the jobs."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
from google.cloud.scheduler_v1 import types
from google.protobuf import json_format

from infra.local.emulators.clock import Clock
from infra.local.emulators.cloud_scheduler.api import CloudSchedulerApi, shown
from infra.local.emulators.cloud_scheduler.dispatcher import JobDispatcher
from infra.local.emulators.cloud_scheduler.store import Store
from infra.local.emulators.grpc_server import service
from infra.local.emulators.identity import TokenSigner

SERVICE = "google.cloud.scheduler.v1.CloudScheduler"
_REQUESTS = SimpleNamespace(**{name: getattr(types, name).pb() for name in dir(types) if name.endswith("Request")})


class CloudScheduler:
    """One running Cloud Scheduler service; planned times that passed while none ran are skipped."""

    def __init__(self, path: Path, clock: Clock, signer: TokenSigner) -> None:
        self._lock = threading.RLock()
        self._store = Store(path)
        self._dispatcher = JobDispatcher(self._store, self._lock, clock, signer)
        self._api = CloudSchedulerApi(self._store, self._dispatcher, clock)
        self.delivery = self._dispatcher.delivery
        self.attempts = self._dispatcher.sender.attempts

    def handler(self) -> grpc.GenericRpcHandler:
        """The gRPC handler to give to `grpc_server.serve`."""
        return service(SERVICE, self._api, _REQUESTS, lock=self._lock)

    def poke(self) -> None:
        """Look at all jobs now (after a change of `delivery`)."""
        self._dispatcher.poke()

    def jobs(self) -> list[dict[str, Any]]:
        """Every job, oldest first: the API's JSON form without the body, and `running` (attempts under way)."""
        with self._lock:
            jobs = self._store.all_jobs()
        return [{**_as_json(shown(job)), "running": job.running} for job in jobs]

    def close(self) -> None:
        """Stop firing and close the file."""
        self._dispatcher.close()
        with self._lock:
            self._store.close()


def _as_json(job: Any) -> dict[str, Any]:
    job.http_target.ClearField("body")
    answer: dict[str, Any] = json_format.MessageToDict(job)
    return answer
