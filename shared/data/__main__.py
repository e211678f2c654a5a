"""`python -m shared.data COMMAND`: backup, restore, resume, migrate, erase. With the settings of the export worker in the environment.

Reaches Firestore and the buckets as whoever runs it (application default credentials), not through the API.
"""

from __future__ import annotations

import argparse
import os
import pwd
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from shared.bootstrap import Services, services
from shared.data import backup, erasure, migration, restore
from shared.errors import BIConnectorsError, ConflictError, InvalidRequestError, NotFoundError
from shared.ports import Objects


def main(arguments: Sequence[str] | None = None, own: Services | None = None) -> int:
    """Run one command; returns the exit status: 0 done, 1 it could not be done, 2 the command is wrong."""
    parsed = _parser().parse_args(arguments)
    try:
        if parsed.command == "erase":
            return _erase(parsed, own or services())
        sys.stdout.write(_run(parsed, own or services()) + "\n")
    except BIConnectorsError as error:
        sys.stderr.write(f"{error.code}: {error.message}\n")
        return 1
    return 0


def _run(parsed: argparse.Namespace, own: Services) -> str:
    stores = own.stores
    match parsed.command:
        case "backup":
            with _sink(stores.objects, parsed.place) as sink:
                count = -1  # the closing line is no document
                for line in backup.lines(stores.documents):
                    sink.write(line)
                    count += 1
            return f"{count} documents in {parsed.place}"
        case "restore":
            with _source(stores.objects, parsed.place) as source:
                backup.checked(source, unclosed=parsed.unclosed)
            how = restore.How(parsed.place, _runs_as(), parsed.replace, parsed.unclosed)
            with _source(stores.objects, parsed.place) as source:
                return f"{restore.restore(stores.documents, source, how)} documents restored"
        case "resume":
            restore.resume(stores.documents, _runs_as())
            return "the functions take and do work again"
        case _:
            return f"{migration.migrate(stores.documents, own.exports.lifting)} jobs lifted"


def _runs_as() -> str:
    """Who runs this, for the audit log: the account of the machine. Google's own audit log says whose credentials were used."""
    number = os.getuid()
    with suppress(KeyError):
        return f"shared.data as {pwd.getpwuid(number).pw_name}"
    return f"shared.data as {number}"


def _erase(parsed: argparse.Namespace, own: Services) -> int:
    """Erase, and say of each job what became of it; 1 if rows may be left."""
    person = erasure.Person(parsed.table, parsed.column, parsed.value)
    found = erasure.erase(own.stores, own.exports.operations, person, _runs_as())
    for name, told in vars(found).items():
        sys.stdout.write(f"{name}: {', '.join(told) or 'none'}\n")
    return 1 if found.running or found.unread else 0


def _sink(objects: Objects, place: str) -> AbstractContextManager[BinaryIO]:
    if place.startswith("gs://"):
        bucket, _, name = place.removeprefix("gs://").partition("/")
        if objects.stat(bucket, name) is None:
            return objects.writer(bucket, name, content_type="application/x-ndjson", new=True)
    elif not Path(place).exists():
        return Path(place).open("xb")
    raise ConflictError(f"{place} exists already; name another, a backup never replaces one")


@contextmanager
def _source(objects: Objects, place: str) -> Iterator[BinaryIO]:
    missing = NotFoundError(f"{place} does not exist; check its name")
    if place.startswith("gs://"):
        bucket, _, name = place.removeprefix("gs://").partition("/")
        info = objects.stat(bucket, name)
        if info is None:
            raise missing
        with objects.open(info) as handle:
            yield handle
        return
    if not Path(place).exists():
        raise missing
    if not Path(place).is_file():
        raise InvalidRequestError(
            f"{place} is no file; a backup is read twice, so it comes from no pipe: store it first"
        )
    with Path(place).open("rb") as handle:
        yield handle


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m shared.data", description="Care for what is stored.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, does in (("backup", "write every document into a new file"), ("restore", "read them back")):
        command = commands.add_parser(name, help=does)
        command.add_argument("place", help="a path, or gs://bucket/name")
    command.add_argument("--replace", action="store_true", help="delete what the database holds first")
    command.add_argument("--unclosed", action="store_true", help="take a file whose end is missing, as far as it goes")
    commands.add_parser("resume", help="let the functions work again after a restore that failed and is given up")
    commands.add_parser("migrate", help="bring every document to the present form")
    erase = commands.add_parser("erase", help="erase what jobs of a table keep if it holds such a row")
    for name in ("table", "column", "value"):
        erase.add_argument(name)
    return parser


if __name__ == "__main__":
    sys.exit(main())
