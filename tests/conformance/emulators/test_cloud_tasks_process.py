"""The emulators' own process: ready line, ports, admin port, SIGTERM, and what survives a kill -9."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions

from infra.local.ports import free_base
from tests.conformance.emulators.dispatch_support import LOCATION, Worker, eventually, scheduler_client, tasks_client

ROOT = Path(__file__).parents[3]


class Process:
    """`python -m infra.local.emulators` with Cloud Tasks and Cloud Scheduler."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.base = free_base()
        self.start()

    def command(self) -> list[str]:
        options = ["--data", str(self.data), "--port-base", str(self.base), "--only", "cloud_tasks,cloud_scheduler"]
        return [sys.executable, "-m", "infra.local.emulators", *options]

    def start(self) -> None:
        pipe = subprocess.PIPE
        self.child = subprocess.Popen(self.command(), cwd=ROOT, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        assert self.child.stdout is not None
        assert self.child.stdout.readline() == "ready\n"
        self.tasks = tasks_client(self.base + 13)
        self.scheduler = scheduler_client(self.base + 12)

    def kill(self) -> None:
        self.child.kill()
        self.child.wait(120)
        assert self.child.stdout is not None
        self.child.stdout.close()

    def admin(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.base + 19}{path}", data, timeout=5) as answer:
            return json.load(answer)

    def refused(self, path: str, body: Any = None) -> tuple[int, str]:
        with pytest.raises(urllib.error.HTTPError) as caught:
            self.admin(path, body)
        with caught.value as answer:
            return answer.code, json.load(answer)["error"]

    def queue(self, queue_id: str = "q1", **fields: Any) -> str:
        queue = {"name": f"{LOCATION}/queues/{queue_id}", **fields}
        return str(self.tasks.create_queue(parent=LOCATION, queue=queue).name)

    def task(self, queue: str, worker: Worker, task_id: str, **fields: Any) -> str:
        request = {"url": f"{worker.url}/work", "body": b"payload"}
        task = {"name": f"{queue}/tasks/{task_id}", "http_request": request, **fields}
        return str(self.tasks.create_task(parent=queue, task=task).name)


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.close()


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    process.kill()


def test_an_accepted_task_is_sent_after_a_kill(process: Process, worker: Worker) -> None:
    process.admin("/delivery", {"service": "cloud_tasks", "hold": True})
    queue = process.queue()
    for number in range(20):
        process.task(queue, worker, f"t{number}")
    process.kill()
    assert worker.received == []
    process.start()
    received = worker.wait_for(20)
    assert {request.headers["x-cloudtasks-taskname"] for request in received} == {f"t{n}" for n in range(20)}
    assert {request.body for request in received} == {b"payload"}


def test_a_task_that_was_being_sent_is_sent_again_after_a_kill(process: Process, worker: Worker) -> None:
    worker.respond = lambda request: 200 + 0 * int(time.sleep(0.5) or 0)
    process.task(process.queue(), worker, "t1")
    worker.wait_for(1)
    process.kill()
    process.start()
    again = worker.wait_for(2)[1]
    assert again.headers["x-cloudtasks-taskretrycount"] == "1"


def test_names_queues_and_jobs_outlive_a_kill(process: Process, worker: Worker) -> None:
    queue = process.queue(rate_limits={"max_dispatches_per_second": 9})
    process.task(queue, worker, "t1")
    worker.wait_for(1)
    eventually(lambda: process.admin("/tasks") == {"tasks": []})
    target = {"uri": f"{worker.url}/tick"}
    job = {"name": f"{LOCATION}/jobs/j1", "schedule": "0 6 * * *", "http_target": target}
    created = process.scheduler.create_job(parent=LOCATION, job=job)
    process.kill()
    process.start()
    assert process.tasks.get_queue(name=queue).rate_limits.max_dispatches_per_second == 9
    with pytest.raises(exceptions.AlreadyExists):
        process.task(queue, worker, "t1")
    assert process.scheduler.get_job(name=created.name).schedule == "0 6 * * *"


def test_the_clock_is_moved_through_the_admin_port_and_stays_so(process: Process, worker: Worker) -> None:
    queue = process.queue()
    process.task(queue, worker, "later", schedule_time=datetime.now(UTC) + timedelta(hours=1))
    assert [task["name"][-5:] for task in process.admin("/tasks")["tasks"]] == ["later"]
    assert process.admin("/clock", {"advance_s": 3601})["advanced_s"] == 3601
    worker.wait_for(1)
    process.kill()
    process.start()
    now = datetime.fromisoformat(process.admin("/clock")["now"])
    assert timedelta(minutes=59) < now - datetime.now(UTC) < timedelta(minutes=61)


def test_the_admin_port_shows_jobs_and_attempts_and_sets_the_delivery(process: Process, worker: Worker) -> None:
    knobs = process.admin("/delivery", {"copies": 2})
    assert knobs == {"cloud_tasks": {"copies": 2, "hold": False}, "cloud_scheduler": {"copies": 2, "hold": False}}
    target = {"uri": f"{worker.url}/tick", "body": b"not shown"}
    job = {"name": f"{LOCATION}/jobs/j1", "schedule": "0 6 * * *", "http_target": target}
    process.scheduler.create_job(parent=LOCATION, job=job)
    process.scheduler.run_job(name=f"{LOCATION}/jobs/j1")
    worker.wait_for(2)
    eventually(lambda: len(process.admin("/attempts")["cloud_scheduler"]) == 2)
    attempts = process.admin("/attempts")["cloud_scheduler"]
    assert {attempt["status"] for attempt in attempts} == {200}
    assert sorted(attempt["copy"] for attempt in attempts) == [False, True]
    [shown] = process.admin("/jobs")["jobs"]
    assert shown["name"] == f"{LOCATION}/jobs/j1"
    assert "body" not in shown["httpTarget"]


def test_the_admin_port_refuses_what_it_does_not_understand(process: Process) -> None:
    assert process.refused("/clock", {"advance_s": -1})[0] == 400
    assert process.refused("/clock", {"advance_s": "60"})[0] == 400
    assert process.refused("/delivery", {"copies": 0})[0] == 400
    assert "firestore" in process.refused("/delivery", {"service": "firestore"})[1]
    assert process.refused("/nothing") == (404, "no route GET /nothing")


def test_a_port_in_use_is_one_clear_line(process: Process) -> None:
    second = subprocess.run(process.command(), cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert second.returncode == 1
    assert second.stdout == ""
    [line] = second.stderr.splitlines()
    assert f"port {process.base + 12} (cloud_scheduler) is in use" in line
    assert process.admin("/tasks") == {"tasks": []}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_even_while_it_sends(process: Process, worker: Worker, number: signal.Signals) -> None:
    stopped = threading.Event()
    worker.respond = lambda request: 200 if stopped.wait(120) else 500
    process.task(process.queue(), worker, "t1")
    worker.wait_for(1)
    process.child.send_signal(number)
    assert process.child.wait(120) == 0  # it does not wait for the answer, which comes later
    stopped.set()
