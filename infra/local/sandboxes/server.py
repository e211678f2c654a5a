"""All sandboxes in one process: TLS server, CONNECT proxy and admin API."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from infra.local.accounts import load_accounts

from . import sandbox_classes
from ._base import BadForm, BadJson, Request, Response, Sandbox, SandboxContext, VendorError
from .admin import Admin
from .certificates import ensure_certificates, server_context
from .clock import SandboxClock
from .faults import Fault, Faults
from .http_server import Application, HttpServer, Reply, Wire
from .proxy import ConnectProxy
from .settings import Settings
from .token_book import TokenBook
from .traffic import Exchange, TrafficLog

STORAGE_OFFSET, PROXY_OFFSET, TLS_OFFSET, ADMIN_OFFSET = 14, 16, 17, 18
_HTML_ERROR = "<html><head><title>{status}</title></head><body><center><h1>{status}</h1></center></body></html>\n"


class PortInUseError(OSError):
    """A part's port cannot be bound; the message names both."""


class SandboxServer:
    """The vendor sandboxes of one data folder, running in this process once started.

    Args:
        data: The data folder; made if missing.
        port_base: Ports are this base + 16 (proxy), 17 (TLS), 18 (admin); None takes free ones.
        traffic: Whether exchanges are written to `sandboxes/traffic.jsonl`; they are counted in any case.
        classes: The sandboxes to run; None runs every one there is.

    Raises:
        PortInUseError: From `start`.
    """

    def __init__(
        self,
        data: Path,
        port_base: int | None = None,
        *,
        traffic: bool = True,
        classes: Iterable[type[Sandbox]] | None = None,
    ) -> None:
        folder = data / "sandboxes"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # tokens lie in it
        self.data = data
        self.port_base = port_base
        self.accounts = load_accounts(data, port_base)
        self.clock = SandboxClock(folder / "clock.json")
        self.tokens = TokenBook(folder / "tokens.sqlite", self.clock)
        self.faults = Faults()
        self.traffic = TrafficLog(folder / "traffic.jsonl", self.clock, enabled=traffic)
        chosen = list(sandbox_classes() if classes is None else classes)
        self.knobs = Settings({kind.name: kind.default_settings for kind in chosen})
        self.sandboxes = {kind.name: kind(self._context(kind.name)) for kind in chosen}
        self.by_host: dict[str, list[Sandbox]] = {}
        for sandbox in self.sandboxes.values():
            for host in sandbox.hosts:
                self.by_host.setdefault(host, []).append(sandbox)
        self.ca_file, self._leaf = ensure_certificates(data / "identity", self.by_host)
        self._parts: list[HttpServer | ConnectProxy] = []
        self._is_stopped = False

    def start(self) -> SandboxServer:
        """Seed the demo accounts, bind all ports and serve in daemon threads."""
        for sandbox in self.sandboxes.values():
            sandbox.seed(self.accounts)
        try:
            tls = self._bind(
                "TLS server", TLS_OFFSET, lambda p: HttpServer(p, self._answer, server_context(self._leaf))
            )
            proxy = self._bind("CONNECT proxy", PROXY_OFFSET, lambda p: ConnectProxy(p, self.by_host, tls))
            admin = Admin(self, proxy)
            self._bind("admin API", ADMIN_OFFSET, lambda p: HttpServer(p, _unlogged(admin.answer)))
        except PortInUseError:
            self._close()
            raise
        for part in self._parts:
            part.start()
        return self

    def stop(self) -> None:
        """Stop serving and close every file. The data stays."""
        self._is_stopped = True
        for part in self._parts:
            part.stop()
        self._close()

    def __enter__(self) -> SandboxServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def tls_port(self) -> int:
        """Port of the TLS server."""
        return self._parts[0].port

    @property
    def proxy_url(self) -> str:
        """What `HTTPS_PROXY` must hold."""
        return f"http://127.0.0.1:{self._parts[1].port}"

    @property
    def admin_url(self) -> str:
        """Base of the admin API, no slash at the end."""
        return f"http://127.0.0.1:{self._parts[2].port}"

    def environment(self) -> dict[str, str]:
        """The variables that lead an unmodified vendor client to the sandboxes."""
        return {
            "HTTPS_PROXY": self.proxy_url,
            "REQUESTS_CA_BUNDLE": str(self.ca_file.resolve()),
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }

    def sandbox(self, name: str) -> Sandbox:
        """A running sandbox by name; KeyError if it does not exist."""
        return self.sandboxes[name]

    def calls(self, vendor: str) -> dict[str, Any]:
        """`{"total", "bytes_in", "bytes_out", "routes": {route: {status: n}}}` since start; zeroes if never called."""
        nothing = {"total": 0, "bytes_in": 0, "bytes_out": 0, "routes": {}}
        return self.traffic.counts().get(vendor, nothing)

    def fault(self, **fields: Any) -> str:
        """Put a fault in force (fields of `faults.Fault`); returns its id.

        Raises:
            ValueError: A field is wrong, or the vendor has no sandbox here.
        """
        fault = Fault.from_dict(fields)
        if fault.vendor not in self.sandboxes:
            raise ValueError(f"unknown vendor {fault.vendor!r}; sandboxes: {', '.join(self.sandboxes)}")
        self.faults.add(fault)
        return fault.id

    def clear_faults(self) -> None:
        """End all faults."""
        self.faults.clear()

    def settings(self, vendor: str, **knobs: Any) -> dict[str, Any]:
        """Change knobs of a sandbox (None resets one to its default); returns all of them.

        Raises:
            ValueError: The vendor or a knob is unknown.
        """
        return self.knobs.change(vendor, knobs)

    def reset(self) -> None:
        """End all faults and set every knob back to its default; data, tokens and clock stay."""
        self.faults.clear()
        self.knobs.reset()

    def _context(self, name: str) -> SandboxContext:
        storage = None if self.port_base is None else f"http://127.0.0.1:{self.port_base + STORAGE_OFFSET}"
        return SandboxContext(self.data, self.clock, self.accounts, self.tokens, self.knobs.of(name), storage)

    def _bind(self, part: str, offset: int, make: Callable[[int], Any]) -> Any:
        port = 0 if self.port_base is None else self.port_base + offset
        try:
            server = make(port)
        except (OSError, OverflowError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else exc
            raise PortInUseError(
                f"sandboxes: the {part} cannot listen on 127.0.0.1:{port} ({reason}); choose another port base"
            ) from exc
        self._parts.append(server)
        return server

    def _close(self) -> None:
        for part in self._parts:
            part.server_close()
        for sandbox in self.sandboxes.values():
            with sandbox.lock:
                sandbox.close()
                sandbox.db.close()
        self.tokens.close()
        self.traffic.close()

    def _answer(self, request: Request) -> Reply:
        sandboxes = self.by_host.get(request.host)
        if not sandboxes:
            return _encode(Response(421, {"error": f"no sandbox serves {request.host!r}"}))
        matches = ((sandbox, sandbox.match(request)) for sandbox in sandboxes)
        sandbox, match = next((pair for pair in matches if pair[1] is not None), (sandboxes[0], None))
        unknown = f"{request.method} {request.path}"
        route, handler = match or (unknown, lambda: sandbox.not_imitated(unknown))
        if latency_ms := float(sandbox.settings["latency_ms"]):
            self.clock.sleep(latency_ms / 1000)
        fault = self.faults.strike(sandbox.name, request.method, request.path)
        reply = self._deliver(sandbox, handler, fault)
        self.traffic.record(
            Exchange(
                vendor=sandbox.name,
                route=route if match else "not imitated",
                request=request,
                status=reply.status,
                response_headers=reply.headers,
                response_body=reply.body,
                fault=fault.id if fault else None,
            )
        )
        return reply

    def _deliver(self, sandbox: Sandbox, handler: Callable[[], Response], fault: Fault | None) -> Reply:
        if fault is None:
            return _encode(self._run(sandbox, handler))
        match fault.kind:
            case "status":
                return _encode(Response(fault.status or 500, fault.body, dict(fault.headers)))
            case "html_5xx":
                status = fault.status or 502
                headers = {"Content-Type": "text/html; charset=UTF-8", **fault.headers}
                page = _HTML_ERROR.format(status=status) if fault.body is None else fault.body
                return _encode(Response(status, page, headers))
            case "reset_before":
                return Reply(0, wire=Wire.RESET)
            case "slow":
                self.clock.sleep(fault.delay_s)
                return _encode(self._run(sandbox, handler))
        reply = _encode(self._run(sandbox, handler))
        if fault.kind == "duplicate":
            self._run(sandbox, handler)
        else:
            reply.wire = Wire.RESET if fault.kind == "lost_reply" else Wire.HALF_ANSWER
        return reply

    def _run(self, sandbox: Sandbox, handler: Callable[[], Response]) -> Response:
        try:
            return handler()
        except VendorError as error:
            return error.response
        except (BadJson, BadForm) as error:
            return sandbox.bad_request(str(error))
        except Exception as error:  # noqa: BLE001 - a bug of the sandbox: shown to its author, answered to the client
            if not self._is_stopped:  # a handler that is still at work then finds its files closed
                traceback.print_exc(file=sys.stderr)
            return Response(500, {"error": "the sandbox has a bug", "sandbox": sandbox.name, "bug": repr(error)})


def _encode(response: Response) -> Reply:
    body, content_type = response.encode()
    headers = dict(response.headers)
    if content_type and not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = content_type
    return Reply(response.status, headers, body)


def _unlogged(answer: Callable[[Request], Response]) -> Application:
    def application(request: Request) -> Reply:
        try:
            return _encode(answer(request))
        except (BadJson, ValueError) as error:
            return _encode(Response(400, {"error": str(error)}))
        except Exception as error:  # noqa: BLE001 - as in _run
            traceback.print_exc(file=sys.stderr)
            return _encode(Response(500, {"error": "the admin API has a bug", "bug": repr(error)}))

    return application


def inherited_variables() -> list[str]:
    """Names of environment variables that would lead a client past the sandboxes: proxies and CA bundles."""
    wrong = {"http_proxy", "https_proxy", "all_proxy", "no_proxy", "requests_ca_bundle", "curl_ca_bundle"}
    wrong |= {"ssl_cert_file", "ssl_cert_dir"}
    return [name for name in os.environ if name.lower() in wrong]
