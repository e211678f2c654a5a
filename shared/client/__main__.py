"""`python -m shared.client --url URL COMMAND`: the API from the shell. Answers are JSON on stdout.

Exit status: 0 done, 1 the API or the job said no, 2 the command is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import requests

from shared.client.client import Client, JobFailedError, pretty
from shared.client.transport import ApiError

VERBS = ("cancel", "approve", "reject", "retry", "republish")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parsed = _parser().parse_args(arguments)
    try:
        token = Path(parsed.token_file).read_text().strip() if parsed.token_file else None
        client = Client(parsed.url, token=token, upload_to=parsed.upload_to)
        found = parsed.run(client, parsed)
        if isinstance(found, Iterator):
            for item in found:
                sys.stdout.write(json.dumps(item, ensure_ascii=False) + "\n")
        elif found is not None:
            sys.stdout.write(pretty(found) + "\n")
    except ApiError as error:
        sys.stderr.write(pretty(error.problem) + "\n")
        return 1
    except (JobFailedError, requests.RequestException) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m shared.client", description="Export tables to BI tools and refresh them."
    )
    parser.add_argument("--url", required=True, help="origin of the functions, e.g. http://127.0.0.1:8080")
    parser.add_argument("--token-file", help="file with an ID token; by default Google's, of this machine's identity")
    parser.add_argument("--upload-to", help="gs://bucket/folder/ for files too large for a request")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, text: str, run: Any, *positional: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        for argument in positional:
            command.add_argument(argument)
        command.set_defaults(run=run)
        return command

    add(
        "register",
        "register a connector from a JSON file (- reads stdin)",
        lambda c, a: c.register(_json(a.file)),
        "file",
    )
    add("connectors", "list connectors", lambda c, _: c.connectors())
    add("test", "test one connector", lambda c, a: c.test(a.connector), "connector")
    add("test-all", "test every connector", lambda c, _: c.test_all())
    apply = add("apply", "apply a configuration from a JSON file", _apply, "file")
    apply.add_argument("--dry-run", action="store_true", help="only say what it would take")
    apply.add_argument("--prune", action="store_true", help="delete what it does not name")
    _add_exports(add)
    add("refresh", "refresh what the BI tool computes", lambda c, a: c.refresh(a.connector), "connector")
    add("schedule", "create a schedule from a JSON file", lambda c, a: c.schedule(_json(a.file)), "file")
    add("schedules", "list schedules", lambda c, _: c.schedules())
    add("delete-schedule", "delete a schedule", lambda c, a: c.delete_schedule(a.id), "id")
    return parser


def _add_exports(add: Any) -> None:
    export = add(
        "export", "export a table, or a local Parquet or CSV file under its name", _export, "connector", "table"
    )
    export.add_argument("--file", help="a local .parquet or .csv file")
    export.add_argument(
        "--options", help="JSON file with further fields of the request: mode, key, mapping, contract …"
    )
    export.add_argument(
        "--no-wait", action="store_true", help="return at once; by default the job is followed to its end"
    )
    add("table", "register a table from a JSON file", lambda c, a: c.put_table(a.name, _json(a.file)), "name", "file")
    add("tables", "list tables", lambda c, _: c.tables())
    jobs = add("jobs", "list jobs, newest first", lambda c, a: c.jobs(a.connector, a.status))
    jobs.add_argument("--connector")
    jobs.add_argument("--status")
    add("job", "show one job", lambda c, a: c.job(a.id), "id")
    add("wait", "follow a job to its end", lambda c, a: c.wait(a.id), "id")
    for verb in VERBS:
        command = add(verb, f"{verb} a job", lambda c, a, verb=verb: c.change_job(a.id, verb, force=a.force), "id")
        command.add_argument("--force", action="store_true")
    add("rejects", "list what a job left out, and why", lambda c, a: c.rejects(a.id), "id")
    replay = add("replay", "send again the rows that a job left out", _replay, "id")
    replay.add_argument("--rules", help="JSON file with mapping, contract or max_rejects")
    replay.add_argument("--force", action="store_true")
    add("download", "write the file that a job kept", _download, "id", "file")


def _apply(client: Client, given: argparse.Namespace) -> Any:
    return client.apply(_json(given.file), dry_run=given.dry_run, prune=given.prune)


def _export(client: Client, given: argparse.Namespace) -> Any:
    options = _json(given.options) if given.options else {}
    return client.export(given.connector, given.table, _frame(given.file), wait=not given.no_wait, **options)


def _replay(client: Client, given: argparse.Namespace) -> Any:
    return client.replay_rejects(given.id, _json(given.rules) if given.rules else None, force=given.force)


def _download(client: Client, given: argparse.Namespace) -> Any:
    with Path(given.file).open("wb") as sink:
        return {"bytes": client.download(given.id, sink)}


def _frame(file: str | None) -> Any:
    if file is None:
        return None
    import pandas as pd

    if file.endswith(".parquet"):
        return pd.read_parquet(file, dtype_backend="pyarrow")
    if file.endswith(".csv"):
        return pd.read_csv(file, dtype=str, keep_default_na=False)
    raise ValueError(f"{file} does not end in .parquet or .csv")


def _json(file: str) -> Any:
    return json.loads(sys.stdin.read() if file == "-" else Path(file).read_text())


if __name__ == "__main__":
    sys.exit(main())
