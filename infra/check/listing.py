"""What the guide and the scripts have gcloud list or describe, asked by the real gcloud of a small server on loopback.

gcloud's linter looks at commands and flags, but not into `--filter` and `--format`: these are compiled when the command runs, and
some commands translate the filter for the service first, which refuses what others take.
So each runs once, against records of ours and of others.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from infra.check.terraform import CheckError

PROJECT = "projects/my-project"
PLACE = f"{PROJECT}/locations/europe-west1"
OWN, FOREIGN = "bi", "bi2"
"""Prefixes: of the environment that is listed, and of its neighbour, of which no line may tell."""

APIS = (
    "artifactregistry cloudbilling cloudfunctions cloudresourcemanager cloudscheduler cloudtasks firestore iam logging "
    "run secretmanager"
)
RECORDS: dict[str, tuple[str, tuple[str, ...]]] = {
    r"/functions": ("functions", (f"{PLACE}/functions/{{}}-register",)),
    r"/jobs": ("jobs", (f"{PLACE}/jobs/{{}}-schedule-01ke70ehg0txapbgjgxdvk3037",)),
    r"/queues": ("queues", (f"{PLACE}/queues/{{}}-export",)),
    r"/secrets": ("secrets", (f"{PROJECT}/secrets/{{}}-connector-sheets", f"{PROJECT}/secrets/{{}}-channel-team")),
    r"/databases": ("databases", (f"{PROJECT}/databases/{{}}-connectors",)),
    r"/operations": ("operations", (f"{PROJECT}/databases/{{}}-restored/operations/1",)),
    r"/backups": ("backups", (f"{PLACE}/backups/{{}}",)),
    r"/serviceAccounts": ("accounts", (f"{PROJECT}/serviceAccounts/{{}}-build@my-project.iam.gserviceaccount.com",)),
    r"/b": ("items", ("my-project-{}-tables",)),
    r"/repositories": ("repositories", (f"{PLACE}/repositories/{{}}-functions",)),
    r"/metrics": ("metrics", ("{}/jobs",)),
    r"/sinks": ("sinks", ("{}-audit",)),
    r"/roles": ("roles", (f"{PROJECT}/roles/{{}}_tracer",)),
}
"""By the end of an address: the name of the list, and the names in it, once of ours and once of the neighbour."""

DESCRIBED: dict[str, tuple[dict[str, Any], str]] = {
    r"/v1/projects/my-project": ({"projectId": "my-project", "projectNumber": "123456789012"}, "123456789012"),
    r"/v1/projects/my-project/billingInfo": ({"billingEnabled": True}, "True"),
    r"/v1/projects/my-project/roles/bi_\w+": ({"name": f"{PROJECT}/roles/bi_tracer", "deleted": True}, "True"),
    r"/v2/projects/my-project/sinks/_Default": (
        {"name": "_Default", "exclusions": [{"name": "bi-links"}, {"name": "bi2-links"}]},
        "bi-links;bi2-links",
    ),
    r"/v2/" + PLACE + r"/functions/bi-export-worker": (
        {
            "name": f"{PLACE}/functions/bi-export-worker",
            "environment": "GEN_2",
            "serviceConfig": {"environmentVariables": {"LOCATION": "europe-west1"}},
        },
        '{"serviceConfig":{"environmentVariables":{"LOCATION":"europe-west1"}}}',
    ),
}
"""By the address: what is there, and what of it must be printed, without blanks."""

MOST_S = 120
AT_ONCE = 2
"""Each keeps about one core busy."""

WRONG = (
    "gcloud secrets list --project=my-project --filter='name~secrets/bi-(connector|channel)-' --format='value(name)'",
    "gcloud tasks queues list --project=my-project --location=europe-west1 --filter='name~queues/bi-)' --format='value(name)'",
    "gcloud secrets list --project=my-project --filter='name~secrets/bi-' --format='value(name.bsename())'",
    "gcloud secrets list --project=my-project --filter='name~secrets/bi' --format='value(name)'",
    "gcloud secrets list --project=my-project --filter='nam~secrets/bi-' --format='value(name)'",
    "gcloud storage buckets list --project=my-project --filter='name~^my-project-bi' --format='value(name)'",
    "gcloud projects describe my-project --format='value(projectNumbr)'",
)
"""Mistakes that the linter takes: not one of them may pass here."""


def hold(program: str, commands: list[str]) -> int:
    """Run every listing among the commands; returns how many. Raises `CheckError` for one that gcloud refuses or that lists wrongly."""
    listings = sorted({_alike(command) for command in commands if _lists(command)})
    with _server() as port, ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(lambda command: _wrong(program, command, port), [*WRONG, *listings]))
    said = dict(zip([*WRONG, *listings], found, strict=True))
    if missed := [command for command in WRONG if said[command] is None]:
        raise CheckError(f"a seeded mistake in a listing was not caught: {missed[0]}")
    if wrong := [f"{command}\n  {said[command]}" for command in listings if said[command] is not None]:
        raise CheckError("\n".join(wrong))
    return len(listings)


def _lists(command: str) -> bool:
    words = shlex.split(command)
    return any(word in ("list", "get-iam-policy", "describe") for word in words) and any(
        word.startswith(("--filter", "--format")) for word in words
    )


def _alike(command: str) -> str:
    """Scripts and guide name their examples differently, the scripts name the project by a variable, the guide two environments."""
    alike = re.sub(r"(?<=[/^:.-])test(?=[-_/.])", OWN, command.replace("example-project", "my-project"))
    words = shlex.split(re.sub(rf"(?<=describe ){OWN}_\w+", f"{OWN}_tracer", alike))
    named = any("my-project" in word for word in words if word.startswith("--project") or not word.startswith("-"))
    return shlex.join(words if named else [*words, "--project=my-project"])


def _wrong(program: str, command: str, port: int) -> str | None:
    """Run a listing and say what is wrong with it, or None."""
    with tempfile.TemporaryDirectory() as folder:
        return _wrong_in(folder, program, command, port)


def _wrong_in(folder: str, program: str, command: str, port: int) -> str | None:
    overrides = {f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api.upper()}": f"http://127.0.0.1:{port}/" for api in APIS.split()}
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": folder,
        "CLOUDSDK_CONFIG": folder,
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
        # Cloud Storage's commands fork helpers, which at this server end most of the time, not always.
        "CLOUDSDK_STORAGE_PROCESS_COUNT": "1",
        "CLOUDSDK_STORAGE_THREAD_COUNT": "1",
        **overrides,
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"http://127.0.0.1:{port}/storage/v1/",
    }
    asked = [program, *shlex.split(command)[1:]]
    try:
        done = subprocess.run(asked, env=environment, capture_output=True, text=True, timeout=MOST_S, check=False)
    except subprocess.TimeoutExpired:
        return f"gcloud did not end within {MOST_S} s"
    if done.returncode:
        return f"gcloud ended with {done.returncode}: {done.stderr.strip()[-500:]}"
    if "describe" in asked:
        said = "".join(done.stdout.split())
        return None if any(wanted in said for _, wanted in DESCRIBED.values()) else f"prints {said or 'nothing'}"
    if not done.stdout.strip():
        return "lists nothing, though there is something of ours"
    if "--filter" in command and re.search(rf"\b{FOREIGN}(?![a-z0-9])", done.stdout):
        return f"lists what is not of this environment: {done.stdout.strip()[-300:]}"
    if "secrets" in command and not all(f"{OWN}-{name}" in done.stdout for name in ("connector", "channel")):
        return f"does not list every credential: {done.stdout.strip()[-300:]}"
    return None


@contextmanager
def _server() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        found = next(((name, own) for end, (name, own) in RECORDS.items() if path.endswith(end)), None)
        described = next((record for form, (record, _) in DESCRIBED.items() if re.fullmatch(form, path)), None)
        if path.endswith(":getIamPolicy"):
            self._say(_policy())
        elif described is not None:
            self._say(described)
        elif found is None:
            self._say({})
        else:
            name, records = found
            self._say({name: [_record(one.format(prefix), prefix) for prefix in (OWN, FOREIGN) for one in records]})

    do_POST = do_GET  # noqa: N815 - the name that http.server looks for

    def log_message(self, *_: object) -> None:
        """Say nothing: a failure tells the command."""

    def _say(self, body: dict[str, Any]) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        payload = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)


def _record(name: str, prefix: str) -> dict[str, Any]:
    return {
        "name": name,
        "id": name,
        "email": Path(name).name,
        "environment": "GEN_2",
        "database": f"{PROJECT}/databases/{prefix}-connectors",
        "state": "READY",
        "snapshotTime": "2026-01-01T00:00:00Z",
        "done": True,
        "metadata": {"operationState": "SUCCESSFUL"},
    }


def _policy() -> dict[str, Any]:
    accounts = [f"serviceAccount:{prefix}-build@my-project.iam.gserviceaccount.com" for prefix in (OWN, FOREIGN)]
    return {"bindings": [{"role": "roles/logging.logWriter", "members": [*accounts, "user:ada@example.org"]}]}
