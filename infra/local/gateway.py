"""What stands in front of the functions in the cloud: a load balancer under one origin, and Cloud Run's check before each of them.

    python -m infra.local.gateway --data .local --port-base 8080

The origin learns each function's paths from its `/openapi.json`, passes bodies through as streams in both directions, and answers
`/health` (all functions) and `/openapi.json` (all paths) itself; `/internal/...` is never forwarded. Each function's own URL, which
Cloud Tasks and Cloud Scheduler call too, hands everything to that function. Both check tokens as `infra/local/cloud_run.py` says.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import urllib3

from infra.local.cloud_run import CloudRun
from infra.local.emulators.identity import TokenSigner
from infra.local.forwarding import Containers, ForwardingHandler, LoopbackServer
from infra.local.ports import Ports
from infra.local.routing import BadPathError, RouteTable, merge

BEHIND_THE_ORIGIN = ("register", "export", "refresh")
FUNCTIONS = (*BEHIND_THE_ORIGIN, "export_worker")
_RELOAD_AFTER_S = 1.0


class Functions(Containers):
    """The functions' containers and the routes that they say they have."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        super().__init__(urls)
        self._lock = threading.Lock()
        self._documents: dict[str, dict[str, Any]] = {}
        self._table = RouteTable({})
        self._loaded_at = float("-inf")

    def function_for(self, method: str, path: str) -> str | None:
        """The function that answers this path; asks the functions again if none does, at most once a second."""
        if len(self._documents) < len(self.urls):
            self._reload()
        found = self._table.function_for(method, path)
        if found is None:
            self._reload()
            found = self._table.function_for(method, path)
        return found

    def unknown(self) -> list[str]:
        """Functions whose routes could not be read so far."""
        return [function for function in self.urls if function not in self._documents]

    def openapi(self) -> dict[str, Any]:
        """One document of all functions that answer."""
        self._reload()
        return merge(self._documents[function] for function in self.urls if function in self._documents)

    def version(self) -> str:
        """The release that the functions say they are."""
        return str(next((document["info"]["version"] for document in self._documents.values()), "unknown"))

    def health(self) -> dict[str, str]:
        """`ok`, or what is wrong, of each function."""
        return {function: self._health_of(function) for function in self.urls}

    def _health_of(self, function: str) -> str:
        try:
            answer = self.pool.request("GET", f"{self.urls[function]}/health", timeout=5.0, retries=1)
        except urllib3.exceptions.HTTPError:
            return "unreachable"
        return "ok" if answer.status == 200 else f"answered {answer.status}"

    def _reload(self) -> None:
        with self._lock:
            if time.monotonic() - self._loaded_at < _RELOAD_AFTER_S:
                return
            for function, url in self.urls.items():
                with contextlib.suppress(urllib3.exceptions.HTTPError, ValueError):
                    answer = self.pool.request("GET", f"{url}/openapi.json", timeout=5.0, retries=1)
                    if answer.status == 200:
                        self._documents[function] = json.loads(answer.data)
            self._table = RouteTable(self._documents)
            self._loaded_at = time.monotonic()


class GatewayHandler(ForwardingHandler):
    """The one origin."""

    functions: ClassVar[Functions]

    def answer(self, path: str) -> None:
        """Answer what is the gateway's own, forward what is a function's."""
        if path == "/openapi.json" and self.command == "GET":
            self._answer_json(200, self.functions.openapi())
        elif path == "/health" and self.command in {"GET", "HEAD"}:
            self._health()
        else:
            self._route(path)

    def _health(self) -> None:
        states = self.functions.health()
        ok = all(state == "ok" for state in states.values())
        body = {"status": "ok" if ok else "failing", "function": "gateway", "version": self.functions.version()}
        self._answer_json(200 if ok else 503, {**body, "functions": states})

    def _route(self, path: str) -> None:
        if not self.path.startswith("/"):
            self._problem(400, "invalid_request", "expected a path that starts with /")
            return
        try:
            function = self.functions.function_for(self.command, path)
        except BadPathError as exc:
            self._problem(400, "invalid_request", str(exc))
            return
        if function is not None:
            self._forward(function)
        elif down := self.functions.unknown():
            self._problem(502, "function_unreachable", f"function {', '.join(down)} does not answer; see its log")
        else:
            self._problem(404, "route_not_found", f"no function answers {path}; GET /openapi.json lists the paths")


class ServiceHandler(ForwardingHandler):
    """One function's own URL."""

    function: ClassVar[str]

    def answer(self, path: str) -> None:
        """Hand everything on."""
        if path.startswith("/"):
            self._forward(self.function)
        else:
            self._problem(400, "invalid_request", "expected a path that starts with /")


def gateway(port: int, functions: Functions, cloud_run: CloudRun) -> LoopbackServer:
    """Return the one origin, not yet serving."""
    return LoopbackServer(port, GatewayHandler, functions=functions, containers=functions, cloud_run=cloud_run)


def service(port: int, function: str, containers: Containers, cloud_run: CloudRun) -> LoopbackServer:
    """Return one function's own URL, not yet serving."""
    return LoopbackServer(port, ServiceHandler, function=function, containers=containers, cloud_run=cloud_run)


def main(arguments: list[str] | None = None) -> None:
    """Serve until terminated."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.local.gateway", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--data", type=Path, default=Path(".local"))
    parser.add_argument("--port-base", type=int, default=8080)
    options = parser.parse_args(arguments)
    ports = Ports(options.port_base)
    signer = TokenSigner(options.data / "identity" / "oidc_key.pem")
    cloud_run = CloudRun(signer, {function: ports.url(function) for function in FUNCTIONS})
    containers = Containers({function: ports.url(f"{function}_container") for function in FUNCTIONS})
    for function in FUNCTIONS:
        own = service(ports.of(function), function, containers, cloud_run)
        threading.Thread(target=own.serve_forever, daemon=True).start()
    behind = Functions({function: containers.urls[function] for function in BEHIND_THE_ORIGIN})
    server = gateway(ports.of("gateway"), behind, cloud_run)
    print(f"gateway on {ports.url('gateway')}", file=sys.stderr, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
