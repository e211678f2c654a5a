"""What the Cloud Tasks and Cloud Scheduler suites share: a worker that records what it is sent, and real clients."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
from google.cloud import scheduler_v1, tasks_v2

from infra.local.emulators.clock import Clock
from infra.local.emulators.cloud_scheduler import CloudScheduler
from infra.local.emulators.cloud_tasks import CloudTasks
from infra.local.emulators.grpc_server import serve
from infra.local.emulators.identity import TokenSigner

LOCATION = "projects/p1/locations/us-central1"
QUIET_S = 0.15  # real time in which nothing more must arrive


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes


class Worker:
    """An HTTP server on a free port; `respond(request)` gives the status (or status and headers) of each answer."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.respond: Callable[[Received], Any] = lambda request: 200
        self._arrived = threading.Condition()
        worker = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Received(self.command, self.path, headers, body)
                with worker._arrived:
                    worker.received.append(request)
                    worker._arrived.notify_all()
                answer = worker.respond(request)
                status, extra = answer if isinstance(answer, tuple) else (answer, {})
                self.send_response(status)
                for name, value in {"Content-Length": "0", **extra}.items():
                    self.send_header(name, value)
                self.end_headers()

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = answer  # noqa: N815

            def log_message(self, *args: Any) -> None:
                pass

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:
                    pass  # the sender cut the connection, as it should at a deadline

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 256

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def wait_for(self, count: int, timeout_s: float = 60.0) -> list[Received]:
        """What arrived, once it is `count` requests or more."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.received) >= count, timeout_s), (
                f"{len(self.received)} requests arrived within {timeout_s} s; expected {count}"
            )
            return list(self.received)

    def quiet_count(self) -> int:
        """How many requests had arrived after a moment in which more would have."""
        time.sleep(QUIET_S)
        return len(self.received)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def eventually(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait until `condition()` holds."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"not true within {timeout_s} s: {condition}"
        time.sleep(0.005)


@cache
def signer() -> TokenSigner:
    """One signer for all tests: making an RSA key costs more than most of them."""
    with tempfile.TemporaryDirectory() as folder:
        return TokenSigner(Path(folder) / "oidc_key.pem")


def tasks_client(port: int) -> tasks_v2.CloudTasksClient:
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    return tasks_v2.CloudTasksClient(transport=tasks_v2.CloudTasksClient.get_transport_class("grpc")(channel=channel))


def scheduler_client(port: int) -> scheduler_v1.CloudSchedulerClient:
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    transport = scheduler_v1.CloudSchedulerClient.get_transport_class("grpc")(channel=channel)
    return scheduler_v1.CloudSchedulerClient(transport=transport)


class TasksUnderTest:
    """Cloud Tasks in this process, its clock, a worker and the real client."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.worker = Worker()
        self.folder = folder
        self.signer = signer()
        self.service = CloudTasks(folder / "tasks.sqlite", self.clock, self.signer)
        self._server = serve(0, self.service.handler())
        self.client = tasks_client(self._server.bound_port)

    def queue(self, queue_id: str = "q1", **fields: Any) -> str:
        """Create a queue; answer its name."""
        queue = {"name": f"{LOCATION}/queues/{queue_id}", **fields}
        return str(self.client.create_queue(parent=LOCATION, queue=queue).name)

    def task(self, queue: str, task_id: str = "", **fields: Any) -> tasks_v2.Task:
        """Create a task for the worker."""
        request = {"url": f"{self.worker.url}/work", **fields.pop("http_request", {})}
        task = {"http_request": request, **fields}
        if task_id:
            task["name"] = f"{queue}/tasks/{task_id}"
        return self.client.create_task(parent=queue, task=task)

    def settled(self, name: str, responses: int) -> tasks_v2.Task:
        """The task, once that many attempts of it have ended."""
        eventually(lambda: self._ended(name) >= responses)
        return self.client.get_task(name=name)

    def _ended(self, name: str) -> int:
        return sum(1 for entry in self.service.attempts if entry["name"] == name) if self._idle(name) else -1

    def _idle(self, name: str) -> bool:
        return all(task["inFlight"] == 0 for task in self.service.pending() if task["name"] == name)

    def close(self) -> None:
        self._server.stop(0).wait(2)
        self.service.close()
        self.worker.close()


class SchedulerUnderTest:
    """Cloud Scheduler in this process, its clock, a worker and the real client."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.worker = Worker()
        self.folder = folder
        self.signer = signer()
        self.start()

    def start(self) -> None:
        self.service = CloudScheduler(self.folder / "jobs.sqlite", self.clock, self.signer)
        self._server = serve(0, self.service.handler())
        self.client = scheduler_client(self._server.bound_port)

    def job(self, job_id: str = "j1", schedule: str = "0 6 * * *", **fields: Any) -> scheduler_v1.Job:
        """Create a job that calls the worker."""
        target = {"uri": f"{self.worker.url}/tick", **fields.pop("http_target", {})}
        job = {"name": f"{LOCATION}/jobs/{job_id}", "schedule": schedule, "http_target": target, **fields}
        return self.client.create_job(parent=LOCATION, job=job)

    def idle(self) -> None:
        """Wait until no attempt is under way."""
        eventually(lambda: all(job["running"] == 0 for job in self.service.jobs()))

    def stop(self) -> None:
        self._server.stop(0).wait(2)
        self.service.close()

    def close(self) -> None:
        self.stop()
        self.worker.close()
