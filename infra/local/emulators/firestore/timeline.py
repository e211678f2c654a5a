"""Time stamps of reads and commits: each later than all before it, also across restarts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from infra.local.emulators.clock import Clock
from infra.local.emulators.firestore.messages import Message, micros
from infra.local.emulators.grpc_server import RpcError

WINDOW_S = 3600  # "a timestamp within the past one hour": the comment of read_time in the API
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Timeline:
    """Hands out microseconds since 1970 that only grow. Not locked here."""

    def __init__(self, clock: Clock, last: int) -> None:
        self._clock = clock
        self._last = last
        self.last_commit = last

    def now(self) -> int:
        """The clock's time."""
        return (self._clock.now() - _EPOCH) // timedelta(microseconds=1)

    def tick(self) -> int:
        """A time later than every one before: all later commits lie after it."""
        self._last = max(self._last + 1, self.now())
        return self._last

    def commit(self) -> int:
        """The time of a new commit."""
        self.last_commit = self.tick()
        return self.last_commit

    def oldest(self) -> int:
        """The oldest time that may be read."""
        return self.now() - WINDOW_S * 1_000_000

    def read_time(self, requested: Message) -> int:
        """The requested time to read at; from now on no commit lands at or before it.

        Raises:
            RpcError: INVALID_ARGUMENT, it lies ahead; FAILED_PRECONDITION, it is more than an hour old.
        """
        moment = micros(requested)
        if moment > max(self.now(), self._last):
            raise RpcError("INVALID_ARGUMENT", "The requested read_time cannot be in the future.")
        if moment < self.oldest():
            raise RpcError(
                "FAILED_PRECONDITION", "The requested snapshot version is too old: read_time goes back one hour."
            )
        self._last = max(self._last, moment)
        return moment
