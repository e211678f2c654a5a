"""The admin API of the sandboxes: plain HTTP on loopback, for tests and for people. COVERAGE.md has the table."""

from __future__ import annotations

import ipaddress
from itertools import islice
from typing import TYPE_CHECKING, Any

from ._base import BadJson, Request, Response
from .proxy import ConnectProxy

if TYPE_CHECKING:
    from .server import SandboxServer

MAX_TRAFFIC = 1_000  # exchanges in one answer; `since` pages on


class Admin:
    """Answers the admin routes of a `SandboxServer`. ValueError and BadJson become a 400 in the server."""

    def __init__(self, server: SandboxServer, proxy: ConnectProxy) -> None:
        self._server = server
        self._proxy = proxy

    def answer(self, request: Request) -> Response:
        """Answer one admin request.

        Raises:
            ValueError: The request's content is wrong; the message says how.
        """
        if not _is_loopback(request.host):  # a web page that rebinds its name to 127.0.0.1 must not get in
            return Response(403, {"error": "the admin API answers on 127.0.0.1 and localhost only"})
        head, _, rest = request.path.lstrip("/").partition("/")
        if head in self._server.sandboxes:
            return self._server.sandbox(head).admin(request, rest) or _unknown(request)
        match head:
            case "clock" if not rest:
                return self._clock(request)
            case "traffic" if not rest:
                return self._traffic(request)
            case "faults":
                return self._faults(request, rest)
            case "settings" if request.method in {"GET", "PUT"}:
                knobs = _object(request) if request.method == "PUT" else {}
                return Response(200, self._server.settings(rest, **knobs))
        return self._single(request)

    def _single(self, request: Request) -> Response:
        match (request.method, request.path):
            case ("GET", "/"):
                return Response(200, self._overview())
            case ("GET", "/calls"):
                vendor = request.query.get("vendor")
                return Response(200, self._server.calls(vendor) if vendor else self._server.traffic.counts())
            case ("GET", "/proxy"):
                return Response(200, self._proxy.counts())
            case ("POST", "/tokens/expire"):
                return Response(200, {"expired": self._server.tokens.expire_all(_text(request, "vendor"))})
            case ("POST", "/reset"):
                self._server.reset()
                return Response(204)
        return _unknown(request)

    def _overview(self) -> dict[str, Any]:
        return {
            "sandboxes": {name: list(sandbox.hosts) for name, sandbox in self._server.sandboxes.items()},
            "proxy": self._server.proxy_url,
            "ca_file": str(self._server.ca_file.resolve()),
        }

    def _clock(self, request: Request) -> Response:
        clock = self._server.clock
        if request.method not in {"GET", "POST"}:
            return _unknown(request)
        if request.method == "POST":
            seconds = _object(request).get("advance_s")
            if not isinstance(seconds, int | float) or isinstance(seconds, bool):
                raise BadJson(f'expected {{"advance_s": seconds}}, got advance_s={seconds!r}')
            clock.advance(seconds)
        return Response(200, {"now": clock.now().isoformat().replace("+00:00", "Z"), "offset_s": clock.offset_s})

    def _traffic(self, request: Request) -> Response:
        log = self._server.traffic
        if request.method == "PUT":
            enabled = _object(request).get("enabled")
            if not isinstance(enabled, bool):
                raise BadJson(f'expected {{"enabled": true or false}}, got enabled={enabled!r}')
            log.enabled = enabled
            return Response(200, {"enabled": enabled})
        if request.method != "GET":
            return _unknown(request)
        found = log.read(request.query.get("vendor"), request.query.get("since"))
        exchanges = list(islice(found, MAX_TRAFFIC + 1))
        return Response(200, {"exchanges": exchanges[:MAX_TRAFFIC], "more": len(exchanges) > MAX_TRAFFIC})

    def _faults(self, request: Request, fault_id: str) -> Response:
        faults = self._server.faults
        match (request.method, fault_id):
            case ("GET", ""):
                return Response(200, {"faults": faults.list()})
            case ("POST", ""):
                return Response(201, {"id": self._server.fault(**_object(request))})
            case ("DELETE", ""):
                faults.clear()
                return Response(204)
            case ("DELETE", _):
                return Response(204) if faults.remove(fault_id) else Response(404, {"error": "no such fault"})
        return _unknown(request)


def _object(request: Request) -> dict[str, Any]:
    body = request.json()
    if not isinstance(body, dict):
        raise BadJson("expected a JSON object")
    return body


def _text(request: Request, name: str) -> str:
    value = _object(request).get(name)
    if not isinstance(value, str):
        raise BadJson(f"expected a text in {name!r}, got {value!r}")
    return value


def _unknown(request: Request) -> Response:
    return Response(404, {"error": f"the admin API has no {request.method} {request.path}"})


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
