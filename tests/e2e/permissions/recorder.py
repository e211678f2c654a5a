"""Stands between one function and the local cloud's Google services, and notes every call. The functions know nothing of it.

Each function gets two addresses of its own: one for gRPC (Firestore, Secret Manager, Cloud Scheduler, Cloud Tasks) and one for
HTTP (Cloud Storage, BigQuery, and the collector of spans, which is only noted).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import requests

from infra.local.supervisor import LocalCloud

SERVICES = {
    "google.firestore.v1.Firestore": "firestore",
    "google.cloud.secretmanager.v1.SecretManagerService": "secret_manager",
    "google.cloud.scheduler.v1.CloudScheduler": "cloud_scheduler",
    "google.cloud.tasks.v2.CloudTasks": "cloud_tasks",
}
BIGQUERY = "https://bigquery.googleapis.com"
TIMEOUT_S = 120.0
MESSAGE_BYTES = [(f"grpc.max_{way}_message_length", 32 * 1024 * 1024) for way in ("receive", "send")]
_OF_ONE_HOP = frozenset({"connection", "transfer-encoding", "content-length", "host", "keep-alive"})


@dataclass(frozen=True)
class Call:
    """One call: who made it, `google.firestore.v1.Firestore/Commit` or `POST /storage/v1/…?query`, and the body that it sent.

    `status` is that of an answer over HTTP; None where none came, and over gRPC.
    """

    function: str
    method: str
    body: bytes
    status: int | None = None


class Recorder:
    """Notes the calls of all functions of one local cloud. Thread-safe."""

    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._guard = threading.Lock()
        self._servers: list[Any] = []

    def calls(self) -> list[Call]:
        """Every call so far."""
        with self._guard:
            return list(self._calls)

    def note(self, call: Call) -> None:
        with self._guard:
            self._calls.append(call)

    def settings_of(self, cloud: LocalCloud, function: str) -> Mapping[str, str]:
        """Start listening for one function; the settings that lead it here."""
        rpc = grpc.server(futures.ThreadPoolExecutor(64), options=MESSAGE_BYTES)
        rpc.add_generic_rpc_handlers((_Forwarding(self, cloud, function),))
        address = f"127.0.0.1:{rpc.add_insecure_port('127.0.0.1:0')}"
        rpc.start()
        web = _WebServer(self, cloud, function)
        threading.Thread(target=web.serve_forever, args=(0.1,), daemon=True).start()
        self._servers += [rpc, web]
        return {f"{name.upper()}_EMULATOR_HOST": address for name in SERVICES.values()} | {
            "STORAGE_EMULATOR_HOST": web.url,
            "BIGQUERY_EMULATOR_HOST": web.url,
            "TRACE_EXPORT_URL": f"{web.url}/v1/traces",
        }

    def stop(self) -> None:
        for server in self._servers:
            if isinstance(server, _WebServer):
                server.shutdown()
                server.server_close()
            else:
                server.stop(grace=None)


class _Forwarding(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc ships no types
    """Hands every call of the known services on as bytes."""

    def __init__(self, recorder: Recorder, cloud: LocalCloud, function: str) -> None:
        self._recorder = recorder
        self._function = function
        ports = cloud.layout.ports
        self._channels = {
            name: grpc.insecure_channel(ports.address(part), options=MESSAGE_BYTES) for name, part in SERVICES.items()
        }

    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method.removeprefix("/")
        channel = self._channels.get(method.partition("/")[0])
        if channel is None:
            self._recorder.note(Call(self._function, method, b""))
            return None
        onwards = channel.unary_stream(f"/{method}")  # one message each way looks the same on the wire

        def forward(message: bytes, context: Any) -> Iterator[bytes]:
            self._recorder.note(Call(self._function, method, message))
            sent = [pair for pair in context.invocation_metadata() if not pair[0].startswith(("grpc-", "user-agent"))]
            try:
                yield from onwards(message, metadata=sent, timeout=context.time_remaining())
            except grpc.RpcError as error:
                context.set_trailing_metadata(error.trailing_metadata() or ())
                context.abort(error.code(), error.details())

        return grpc.unary_stream_rpc_method_handler(forward)


class _WebServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, recorder: Recorder, cloud: LocalCloud, function: str) -> None:
        super().__init__(("127.0.0.1", 0), _Forwarded)
        self.recorder = recorder
        self.function = function
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.storage = cloud.layout.ports.url("gcs")
        self.session = requests.Session()
        self.session.trust_env = False
        self.bigquery = {
            "proxies": {"https": cloud.layout.ports.url("sandbox_proxy")},
            "verify": str(cloud.layout.ca_file),
        }


class _Forwarded(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _WebServer

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Every verb is handed on alike: the server looks for `do_GET` and so on."""
        if name.startswith("do_"):
            return self._forward
        raise AttributeError(name)

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status: int | None = None
        try:
            status, headers, content = self._answered(body)
        finally:
            self.server.recorder.note(Call(self.server.function, f"{self.command} {self.path}", body, status))
        self._answer(status, headers, content)

    def _answered(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        if self.path.startswith("/v1/traces"):
            return 200, {"Content-Type": "application/x-protobuf"}, b""
        of_bigquery = self.path.startswith("/bigquery/")
        headers = {key: value for key, value in self.headers.items() if key.lower() not in _OF_ONE_HOP}
        with self.server.session.request(
            self.command,
            (BIGQUERY if of_bigquery else self.server.storage) + self.path,
            data=body,
            headers=headers,
            stream=True,
            allow_redirects=False,
            timeout=TIMEOUT_S,
            **(self.server.bigquery if of_bigquery else {}),
        ) as answer:
            content = answer.raw.read(decode_content=False)
        own, theirs = self.server.url, self.server.storage
        kept = {key: value.replace(theirs, own) for key, value in answer.headers.items()}
        if "json" in kept.get("Content-Type", ""):  # links to media and to upload sessions lead here, too
            content = content.replace(theirs.encode(), own.encode())
        return answer.status_code, kept, content

    def _answer(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
        self.send_response(status)
        for key, value in headers.items():
            if key.lower() not in _OF_ONE_HOP:
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's name
        pass
