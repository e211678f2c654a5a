"""Cloud Tasks on loopback: the gRPC service, its SQLite file, and the threads that really send the tasks."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
from google.cloud.tasks_v2 import types
from google.protobuf import json_format

from infra.local.emulators.clock import Clock
from infra.local.emulators.cloud_tasks.api import CloudTasksApi, view
from infra.local.emulators.cloud_tasks.dispatcher import TaskDispatcher
from infra.local.emulators.cloud_tasks.store import Store
from infra.local.emulators.grpc_server import service
from infra.local.emulators.identity import TokenSigner

SERVICE = "google.cloud.tasks.v2.CloudTasks"
# Raw protobuf request classes: this service is on the hot path, and proto-plus costs a multiple.
_REQUESTS = SimpleNamespace(**{name: getattr(types, name).pb() for name in dir(types) if name.endswith("Request")})


class CloudTasks:
    """One running Cloud Tasks service; tasks that an earlier process accepted are sent as soon as they are due."""

    def __init__(self, path: Path, clock: Clock, signer: TokenSigner) -> None:
        self._lock = threading.RLock()
        self._store = Store(path)
        self._dispatcher = TaskDispatcher(self._store, self._lock, clock, signer)
        self._api = CloudTasksApi(self._store, self._dispatcher, clock)
        self.delivery = self._dispatcher.delivery
        self.attempts = self._dispatcher.sender.attempts

    def handler(self) -> grpc.GenericRpcHandler:
        """The gRPC handler to give to `grpc_server.serve`."""
        return service(SERVICE, self._api, _REQUESTS, lock=self._lock)

    def poke(self) -> None:
        """Look for due tasks now (after a change of `delivery`)."""
        self._dispatcher.poke()

    def pending(self) -> list[dict[str, Any]]:
        """Every task not yet done, oldest first: the API's JSON form without the body, and `inFlight`."""
        with self._lock:
            tasks = self._store.all_tasks()
        return [
            {**json_format.MessageToDict(view(task.message, types.Task.View.BASIC)), "inFlight": task.in_flight}
            for task in tasks
        ]

    def close(self) -> None:
        """Stop sending and close the file; unfinished tasks stay in it."""
        self._dispatcher.close()
        with self._lock:
            self._store.close()
