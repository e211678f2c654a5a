"""Jobs and the state of their current execution, in SQLite.

Callers hold the service's lock. Times are microseconds since 1970, UTC; each statement commits by itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.cloud.scheduler_v1 import types

JOB: Any = types.Job.pb()

_SCHEMA = """
pragma journal_mode = wal;
pragma synchronous = normal;
create table if not exists jobs(
    id integer primary key autoincrement, name text not null unique, parent text not null, message blob not null,
    next_us integer not null, retry_us integer, slot_us integer not null default 0,
    attempts integer not null default 0, first_us integer not null default 0,
    forced integer not null default 0, running integer not null default 0);
"""
_COLUMNS = "id, message, next_us, retry_us, slot_us, attempts, first_us, forced, running"


@dataclass
class StoredJob:
    """A job and its current execution.

    `next_us` is the next planned time; `retry_us` when the current execution is tried again, if it is to be; `slot_us`
    the planned time that execution stands for; `attempts` how often it was tried, first at `first_us`; `running` the
    attempts under way; `forced` that RunJob asked for one.
    """

    id: int
    message: Any
    next_us: int
    retry_us: int | None = None
    slot_us: int = 0
    attempts: int = 0
    first_us: int = 0
    forced: bool = False
    running: int = 0


class Store:
    """One SQLite file; not safe without the caller's lock."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def add(self, job: Any, next_us: int) -> None:
        """Store a new job."""
        parent = job.name.rpartition("/jobs/")[0]
        self._db.execute(
            "insert into jobs(name, parent, message, next_us) values(?, ?, ?, ?)",
            (job.name, parent, job.SerializeToString(), next_us),
        )

    def save(self, job: StoredJob) -> None:
        """Write back a changed job."""
        self._db.execute(
            "update jobs set message = ?, next_us = ?, retry_us = ?, slot_us = ?, attempts = ?, first_us = ?,"
            " forced = ?, running = ? where id = ?",
            (
                job.message.SerializeToString(),
                job.next_us,
                job.retry_us,
                job.slot_us,
                job.attempts,
                job.first_us,
                int(job.forced),
                job.running,
                job.id,
            ),
        )

    def job(self, name: str) -> StoredJob | None:
        """The job of that name, or None."""
        return next(self._select("name = ?", (name,)), None)

    def job_by_id(self, job_id: int) -> StoredJob | None:
        """The job with that id, or None; a later job of the same name has another id."""
        return next(self._select("id = ?", (job_id,)), None)

    def jobs(self, parent: str, after: str, limit: int) -> list[StoredJob]:
        """Jobs of a location by name, beginning behind the name `after`."""
        return list(self._select("parent = ? and name > ? order by name limit ?", (parent, after, limit)))

    def all_jobs(self) -> list[StoredJob]:
        """Every job, oldest first."""
        return list(self._select("1 order by id", ()))

    def delete(self, name: str) -> None:
        """Delete a job; its name can be used again at once."""
        self._db.execute("delete from jobs where name = ?", (name,))

    def _select(self, where: str, values: tuple[Any, ...]) -> Iterator[StoredJob]:
        for row in self._db.execute(f"select {_COLUMNS} from jobs where {where}", values).fetchall():
            job_id, message, next_us, retry_us, slot_us, attempts, first_us, forced, running = row
            yield StoredJob(
                job_id, JOB.FromString(message), next_us, retry_us, slot_us, attempts, first_us, bool(forced), running
            )
