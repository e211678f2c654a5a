"""Queues, tasks and the names of tasks that are gone, in SQLite.

Every change is committed before the call that made it answers, so a kill -9 loses no accepted task; one that was being
sent is sent again after a restart. Callers hold the service's lock; times are microseconds since 1970, UTC.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.cloud.tasks_v2 import types

QUEUE: Any = types.Queue.pb()
TASK: Any = types.Task.pb()

_SCHEMA = """
pragma journal_mode = wal;
pragma synchronous = normal;
pragma wal_autocheckpoint = 16000;
create table if not exists queues(name text primary key, parent text not null, message blob not null);
create table if not exists tasks(
    id integer primary key autoincrement, name text not null unique, queue text not null, message blob not null,
    due_us integer not null, in_flight integer not null default 0, forced integer not null default 0,
    executions integer not null default 0, previous_status integer);
create index if not exists tasks_due on tasks(queue, in_flight, due_us, id);
create index if not exists tasks_forced on tasks(forced) where forced = 1;
create table if not exists gone(name text primary key, until_us integer not null);
create index if not exists gone_until on gone(until_us);
"""


@dataclass
class StoredTask:
    """A task as stored: its message, and what the message has no field for.

    `executions` counts answers that were not 5xx; `previous_status` is the HTTP status of the last answer.
    """

    id: int
    queue: str
    message: Any
    in_flight: int
    forced: bool
    executions: int
    previous_status: int | None


class Store:
    """One SQLite file; not safe without the caller's lock."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.executescript(_SCHEMA)
        self._db.execute("update tasks set in_flight = 0")  # what was under way when the process died is due again
        self._depth = 0

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all changes of the block together, or none; blocks may be nested."""
        if self._depth:
            yield
            return
        self._db.execute("begin immediate")
        self._depth += 1
        try:
            yield
        except BaseException:
            self._db.execute("rollback")
            raise
        else:
            self._db.execute("commit")
        finally:
            self._depth -= 1

    def queue(self, name: str) -> Any | None:
        """The queue of that name, or None."""
        row = self._db.execute("select message from queues where name = ?", (name,)).fetchone()
        return QUEUE.FromString(row[0]) if row else None

    def put_queue(self, queue: Any) -> None:
        """Create or replace a queue."""
        parent = queue.name.rpartition("/queues/")[0]
        self._db.execute(
            "insert into queues values(?, ?, ?) on conflict(name) do update set message = excluded.message",
            (queue.name, parent, queue.SerializeToString()),
        )

    def delete_queue(self, name: str) -> None:
        """Delete a queue with its tasks; the names of the tasks are free at once, as the queue is gone."""
        self._db.execute("delete from tasks where queue = ?", (name,))
        self._db.execute("delete from gone where name like ? || '/tasks/%'", (name,))
        self._db.execute("delete from queues where name = ?", (name,))

    def queues(self, parent: str, after: str, limit: int) -> list[Any]:
        """Queues of a location by name, beginning behind the name `after`."""
        sql = "select message from queues where parent = ? and name > ? order by name limit ?"
        return [QUEUE.FromString(row[0]) for row in self._db.execute(sql, (parent, after, limit))]

    def waiting_queues(self) -> list[Any]:
        """Queues that hold a task which is not being sent."""
        sql = (
            "select message from queues q where exists"
            " (select 1 from tasks t where t.queue = q.name and t.in_flight = 0)"
        )
        return [QUEUE.FromString(row[0]) for row in self._db.execute(sql)]

    def add(self, task: Any, queue: str) -> int:
        """Store a new task; answer its id."""
        cursor = self._db.execute(
            "insert into tasks(name, queue, message, due_us) values(?, ?, ?, ?)",
            (task.name, queue, task.SerializeToString(), task.schedule_time.ToMicroseconds()),
        )
        return int(cursor.lastrowid or 0)

    def save(self, task: StoredTask) -> None:
        """Write back a changed task."""
        self._db.execute(
            "update tasks set message = ?, due_us = ?, in_flight = ?, forced = ?, executions = ?, previous_status = ?"
            " where id = ?",
            (
                task.message.SerializeToString(),
                task.message.schedule_time.ToMicroseconds(),
                task.in_flight,
                int(task.forced),
                task.executions,
                task.previous_status,
                task.id,
            ),
        )

    def task(self, name: str) -> StoredTask | None:
        """The task of that name, or None."""
        return next(self._select("name = ?", (name,)), None)

    def task_by_id(self, task_id: int) -> StoredTask | None:
        """The task with that id, or None; a later task of the same name has another id."""
        return next(self._select("id = ?", (task_id,)), None)

    def tasks(self, queue: str, after: str, limit: int) -> list[StoredTask]:
        """Tasks of a queue by name, beginning behind the name `after`."""
        return list(self._select("queue = ? and name > ? order by name limit ?", (queue, after, limit)))

    def all_tasks(self) -> list[StoredTask]:
        """Every task, oldest first."""
        return list(self._select("1 order by id", ()))

    def due(self, queue: str, now_us: int, limit: int) -> list[StoredTask]:
        """Tasks of a queue that are due and not being sent, the longest due first."""
        where = "queue = ? and in_flight = 0 and due_us <= ? order by due_us, id limit ?"
        return list(self._select(where, (queue, now_us, limit)))

    def forced(self, limit: int) -> list[StoredTask]:
        """Tasks that RunTask asked for."""
        return list(self._select("forced = 1 order by id limit ?", (limit,)))

    def next_due_us(self, queue: str) -> int | None:
        """When the next task of the queue that is not being sent is due."""
        sql = "select min(due_us) from tasks where queue = ? and in_flight = 0"
        due_us: int | None = self._db.execute(sql, (queue,)).fetchone()[0]
        return due_us

    def remove(self, name: str, keep_name_until_us: int) -> None:
        """Delete a task and keep its name from being used until then."""
        self._db.execute("delete from tasks where name = ?", (name,))
        self._db.execute("insert or replace into gone values(?, ?)", (name, keep_name_until_us))

    def purge(self, queue: str, keep_name_until_us: int) -> None:
        """Delete every task of a queue, keeping their names."""
        self._db.execute(
            "insert or replace into gone select name, ? from tasks where queue = ?", (keep_name_until_us, queue)
        )
        self._db.execute("delete from tasks where queue = ?", (queue,))

    def is_name_kept(self, name: str, now_us: int) -> bool:
        """Whether a task of that name existed a short time ago; forgets names whose time is over."""
        self._db.execute("delete from gone where until_us <= ?", (now_us,))
        return self._db.execute("select 1 from gone where name = ?", (name,)).fetchone() is not None

    def _select(self, where: str, values: tuple[Any, ...]) -> Iterator[StoredTask]:
        columns = "id, queue, message, in_flight, forced, executions, previous_status"
        rows = self._db.execute(f"select {columns} from tasks where {where}", values).fetchall()
        for row in rows:
            yield StoredTask(row[0], row[1], TASK.FromString(row[2]), row[3], bool(row[4]), row[5], row[6])
