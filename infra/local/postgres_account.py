"""Who the embedded Postgres runs as: it refuses to run as root, and an unprivileged uid may find folders closed to it."""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2  # linux/capability.h
_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 1, 8, 47, 2  # linux/prctl.h
_CAPABILITY_VERSION_3 = 0x20080522
_LIBC: Any = ctypes.CDLL(None, use_errno=True)  # loaded before any fork


class PostgresError(Exception):
    """The embedded Postgres cannot start; the message says why and what to do."""


@dataclass(frozen=True)
class Account:
    """Who the server runs as: None is this process' own user. `capability` lets it pass folders closed to its uid."""

    uid: int | None = None
    gid: int | None = None
    capability: int | None = None

    def give(self, path: Path) -> None:
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def enter(self) -> None:
        """Become this account; runs in the child between fork and exec."""
        if self.uid is None or self.gid is None:
            return
        if self.capability is not None:
            _check(_LIBC.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0))
        os.setgroups([])
        os.setresgid(self.gid, self.gid, self.gid)
        os.setresuid(self.uid, self.uid, self.uid)
        if self.capability is not None:
            bit = 1 << self.capability
            header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
            sets = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)
            _check(_LIBC.capset(header, sets))
            _check(_LIBC.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, self.capability, 0, 0))

    def enter_and_end_with_parent(self) -> None:
        parent = os.getppid()
        self.enter()
        if sys.platform == "linux":  # after the change of uid, which would clear it
            _check(_LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0))
            if os.getppid() != parent:
                os._exit(1)


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def choose_account(data: Path, binaries: Path) -> Account:
    """Choose the account, and make `data` its own; change nothing else."""
    if os.geteuid() != 0:
        owner = data.stat().st_uid
        if owner != os.geteuid():
            raise PostgresError(
                f"{data} belongs to uid {owner}; start as that user (or as root), or use another folder"
            )
        data.chmod(0o700)
        return Account()
    entry = _unprivileged(data.stat().st_uid)
    if data.stat().st_uid != entry.pw_uid:
        for path in (data, *data.rglob("*")):
            os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)
    data.chmod(0o700)
    closed = _closed_folder([data, binaries], entry.pw_uid, entry.pw_gid)
    if closed is None:
        return Account(entry.pw_uid, entry.pw_gid)
    capability = _passing_capability()
    if capability is None:
        raise PostgresError(
            f"Postgres does not run as root, and uid {entry.pw_uid} ({entry.pw_name}) may not enter {closed}; run as the "
            "folder's owner instead of root, or keep the checkout and the data folder where every user may enter"
        )
    return Account(entry.pw_uid, entry.pw_gid, capability)


def _unprivileged(owner: int) -> pwd.struct_passwd:
    """The present owner of the data if it is somebody, else `postgres`, `nobody`, or any user (initdb needs an entry)."""
    entries = [entry for entry in pwd.getpwall() if entry.pw_uid != 0]
    by_uid = {entry.pw_uid: entry for entry in entries}
    by_name = {entry.pw_name: entry for entry in entries}
    chosen = by_uid.get(owner) or by_name.get("postgres") or by_name.get("nobody") or next(iter(entries), None)
    if chosen is None:
        raise PostgresError("Postgres does not run as root, and this machine has no other user; run: useradd postgres")
    return chosen


def _closed_folder(paths: list[Path], uid: int, gid: int) -> Path | None:
    """The first folder on the way to `paths` that this uid may not enter; None if all are open."""
    for path in paths:
        resolved = path.resolve()
        for folder in (*reversed(resolved.parents), resolved):
            status = folder.stat()
            if status.st_uid == uid:
                needed = stat.S_IXUSR
            elif status.st_gid == gid:
                needed = stat.S_IXGRP
            else:
                needed = stat.S_IXOTH
            if not status.st_mode & needed:
                return folder
    return None


def _passing_capability() -> int | None:
    """The weakest capability at hand that lets a process enter any folder; containers often have the second only."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    effective = next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)
    return next((c for c in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE) if effective >> c & 1), None)
