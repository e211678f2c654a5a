"""Outlives the supervisor just long enough to end what it started, so that even a kill -9 leaves nothing running.

It reads lines from standard input: `+<pid>` is a process group to end, `-<pid>` one that has ended. When the input ends,
the supervisor is gone: the groups get SIGTERM, and SIGKILL after `GRACE_S`. Run as a file, with `python -I -S`.
"""

import os
import signal
import sys
import time

GRACE_S = 3.0


def main() -> None:
    """Read until the end of input, then end every group that is left."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        change, group = line[0], int(line[1:])
        if change == "+":
            groups.add(group)
        else:
            groups.discard(group)
    deadline = time.monotonic() + GRACE_S
    groups = {group for group in groups if _signal(group, signal.SIGTERM)}
    while groups and time.monotonic() < deadline:
        time.sleep(0.05)
        groups = {group for group in groups if _signal(group, 0)}
    for group in groups:
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> bool:
    """Send to a group; False if it is gone."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    main()
