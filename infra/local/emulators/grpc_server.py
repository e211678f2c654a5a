"""Serve plain Python methods as a Google gRPC service on loopback.

A service is an object whose public methods are named as the RPCs (`GetSecret`, `RunQuery`, ...). The request class of
method `M` is `types.MRequest`; a reply serialises itself; a generator method is a server stream. So no generated
servicer and no table of methods is needed.
"""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from contextlib import AbstractContextManager
from typing import Any

import grpc

MAX_MESSAGE_BYTES = 32 * 1024 * 1024  # our choice: above every limit the emulators check themselves
WORKERS = 96  # our choice: threads are made on demand; Firestore lets calls wait for a contended document

log = logging.getLogger(__name__)


class RpcError(Exception):
    """An answer other than OK: `code` is the name of a `grpc.StatusCode`, e.g. `NOT_FOUND`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code: grpc.StatusCode = grpc.StatusCode[code]
        self.message = message


def service(
    full_name: str,
    impl: object,
    types: Any,
    request_types: Mapping[str, Any] | None = None,
    lock: AbstractContextManager[Any] | None = None,
) -> grpc.GenericRpcHandler:
    """A gRPC handler that answers `full_name` with the methods of `impl`; other methods get UNIMPLEMENTED by name.

    Args:
        full_name: e.g. `google.cloud.tasks.v2.CloudTasks`.
        impl: its public methods with a capital first letter are the RPCs: `method(request) -> reply` or a generator.
        types: module (or object) with `<Method>Request` classes: proto-plus or raw protobuf.
        request_types: request classes of methods that do not follow that naming (the IAM ones).
        lock: held during each call; by default one new re-entrant lock for the whole service. Give
            `contextlib.nullcontext()` to a service that does its own locking. A generator is run to its end under it.
    """
    held: AbstractContextManager[Any] = lock if lock is not None else threading.RLock()
    handlers = {}
    for method, function in inspect.getmembers(impl, inspect.ismethod):
        if method[0].isupper():
            request_class = dict(request_types or {}).get(method) or getattr(types, f"{method}Request")
            handlers[method] = _rpc(f"{full_name}/{method}", function, _reader(request_class), held)
    return _Service(full_name, handlers)


def serve(port: int, *handlers: grpc.GenericRpcHandler) -> grpc.Server:
    """Start a server on 127.0.0.1:`port` (0 = any free one); the port it got is its attribute `bound_port`.

    Keep the reference: a server that is garbage-collected closes its port without a word.

    Raises:
        OSError: the port is in use.
    """
    options = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.so_reuseport", 0),  # two servers on one port must be an error, not a lottery
    ]
    server = grpc.server(futures.ThreadPoolExecutor(WORKERS, thread_name_prefix="grpc"), options=options)
    server.add_generic_rpc_handlers(handlers)
    try:
        server.bound_port = server.add_insecure_port(f"127.0.0.1:{port}")
    except RuntimeError as exc:
        raise OSError(f"cannot listen on 127.0.0.1:{port}; another process uses it: choose another port") from exc
    server.start()
    return server


class _Service(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc ships no types
    """Routes the methods of one service; leaves other services to the next handler."""

    def __init__(self, full_name: str, handlers: dict[str, Any]) -> None:
        self._prefix = f"/{full_name}/"
        self._handlers = handlers

    def service(self, handler_call_details: Any) -> Any:
        path: str = handler_call_details.method
        if not path.startswith(self._prefix):
            return None
        known = self._handlers.get(path.removeprefix(self._prefix))
        return known if known is not None else _not_imitated(path.removeprefix("/"))


def _rpc(path: str, function: Callable[[Any], Any], read: Any, lock: AbstractContextManager[Any]) -> Any:
    def unary(request: Any, context: Any) -> Any:
        return _answer(path, context, lock, lambda: function(request))

    def stream(request: Any, context: Any) -> Iterator[Any]:
        # Materialised under the lock: a handler that streams lazily would see later writes, or hold the lock for long.
        yield from _answer(path, context, lock, lambda: list(function(request)))

    if inspect.isgeneratorfunction(function):
        return grpc.unary_stream_rpc_method_handler(stream, read, _write)
    return grpc.unary_unary_rpc_method_handler(unary, read, _write)


def _answer(path: str, context: Any, lock: AbstractContextManager[Any], call: Callable[[], Any]) -> Any:
    """Run `call` under the lock; abort outside it, because `context.abort` raises."""
    try:
        with lock:
            return call()
    except RpcError as exc:
        code, message = exc.code, exc.message
    except Exception:
        log.exception("%s failed", path)
        code, message = grpc.StatusCode.INTERNAL, f"the emulator failed in {path}; its log has the traceback"
    return context.abort(code, message)


def _not_imitated(path: str) -> Any:
    def refuse(_requests: Iterator[Any], context: Any) -> Iterator[Any]:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{path} is not imitated by the local emulator (see COVERAGE.md)")
        yield  # makes this a generator: one stream handler answers calls of all four kinds

    return grpc.stream_stream_rpc_method_handler(refuse)


def _reader(request_class: Any) -> Any:
    return request_class.deserialize if hasattr(request_class, "deserialize") else request_class.FromString


def _write(reply: Any) -> bytes:
    kind = type(reply)
    data: bytes = kind.serialize(reply) if hasattr(kind, "serialize") else reply.SerializeToString()
    return data
