"""The contract of a vendor sandbox: requests, responses, routes, and what a sandbox is given.

A sandbox is one module `infra/local/sandboxes/<vendor>.py` (or a package of that name) with exactly one subclass of
`Sandbox` that sets `name` and `hosts`. Its routes are methods decorated with `@route`:

    class Weather(Sandbox):
        name = "weather"
        hosts = ("api.weather.example",)
        default_settings = {"celsius": True}

        @route("GET", "/v1/cities/<city>")
        def city(self, request: Request, city: str) -> Response:
            if self.context.tokens.check("google", request.bearer) is None:
                raise VendorError(Response(401, {"error": "who are you?"}))
            return Response(200, {"city": city, "celsius": self.settings["celsius"]})
"""

from __future__ import annotations

import functools
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from urllib.parse import parse_qsl

import orjson
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, MapAdapter, Rule

from .clock import SandboxClock

if TYPE_CHECKING:
    from infra.local.accounts import Accounts

    from .token_book import TokenBook

__all__ = [
    "BadForm",
    "BadJson",
    "Request",
    "Response",
    "Sandbox",
    "SandboxClock",
    "SandboxContext",
    "VendorError",
    "route",
]

_ENCODED_SLASH = "\x00"  # stands for %2F while routes are matched, so that it does not split a path argument
_ROUTES = "_sandbox_routes"
Handler = TypeVar("Handler", bound=Callable[..., "Response"])


class BadJson(ValueError):
    """The request body is not JSON. The server answers `Sandbox.bad_request(message)`."""


class BadForm(ValueError):
    """The request body is not a UTF-8 form. The server answers `Sandbox.bad_request(message)`."""


@dataclass(frozen=True)
class Request:
    """One request as a sandbox sees it.

    Attributes:
        method: Upper case.
        host: Lower case, no port.
        path: Decoded, without the query.
        query: First value of each parameter, blank ones included; `query_list` gives repeated ones.
        headers: Keys in lower case; repeated headers joined by ", ".
        body: After transfer decoding; empty if there is none.
        match_path: `path` with an encoded slash kept apart from a real one; for routing only.
    """

    method: str
    host: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    query_pairs: tuple[tuple[str, str], ...] = ()
    match_path: str = ""

    def json(self) -> Any:
        """The parsed body; parsed once, so treat it as read-only. Numbers with a fraction are floats.

        Raises:
            BadJson: Not JSON (NaN, Infinity and an empty body included).
        """
        return self._json

    def json_exact(self) -> Any:
        """Like `json()`, but every number with a fraction or exponent is a `Decimal`, and integers of any size are exact.

        Raises:
            BadJson: Not JSON.
        """
        try:
            return json.loads(self.body, parse_float=Decimal, parse_constant=_refuse_constant)
        except ValueError as exc:
            raise BadJson(str(exc)) from exc

    def form(self) -> dict[str, str]:
        """The url-encoded body: first value of each field, blank ones included; empty if there is no body.

        Raises:
            BadForm: Not ASCII, or its escapes are not UTF-8.
        """
        try:
            pairs = parse_qsl(self.body.decode("ascii"), keep_blank_values=True, errors="strict")
        except ValueError as exc:
            raise BadForm(str(exc)) from exc
        return dict(reversed(pairs))

    def query_list(self, name: str) -> list[str]:
        """All values of a repeated query parameter, in order; empty if absent."""
        return [value for key, value in self.query_pairs if key == name]

    @property
    def bearer(self) -> str | None:
        """The token of `Authorization: Bearer <token>` (or Looker's `token <token>`); None without one."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() or None if scheme.lower() in {"bearer", "token"} else None

    @functools.cached_property
    def _json(self) -> Any:
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as exc:
            raise BadJson(str(exc)) from exc


@dataclass
class Response:
    """One answer. `body`: None is empty, text and bytes go out as they are, anything else as JSON."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    def encode(self) -> tuple[bytes, str | None]:
        """The body's bytes and the content type to send if `headers` names none (None for an empty body)."""
        if self.body is None:
            return b"", None
        if isinstance(self.body, bytes):
            return self.body, "application/octet-stream"
        if isinstance(self.body, str):
            return self.body.encode(), "text/plain; charset=utf-8"
        try:
            return orjson.dumps(self.body), "application/json; charset=utf-8"
        except TypeError:  # an integer beyond 64 bits
            return json.dumps(self.body, allow_nan=False).encode(), "application/json; charset=utf-8"


class VendorError(Exception):
    """Raised by a handler to answer with `response` from any depth."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"answer {response.status}")
        self.response = response


@dataclass(frozen=True)
class SandboxContext:
    """What the server gives one sandbox; `settings` is that sandbox's own and changes while it runs.

    `storage_url` is where the local cloud's Cloud Storage answers, None where it has none.
    """

    data: Path
    clock: SandboxClock
    accounts: Accounts
    tokens: TokenBook
    settings: dict[str, Any]
    storage_url: str | None = None

    def connect(self, name: str) -> sqlite3.Connection:
        """Open `DIR/sandboxes/<name>.sqlite`: autocommit, rows by name, usable from any thread under a lock."""
        folder = self.data / "sandboxes"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # tokens lie in it
        db = sqlite3.connect(folder / f"{name}.sqlite", isolation_level=None, check_same_thread=False, timeout=30)
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute("PRAGMA foreign_keys=ON")
        return db


def route(method: str, pattern: str) -> Callable[[Handler], Handler]:
    """Make a method answer `method` on a werkzeug `pattern`; may be stacked.

    Path arguments arrive decoded; `%2F` inside one does not split it (and `<path:x>` takes real slashes too).
    """

    def mark(handler: Handler) -> Handler:
        setattr(handler, _ROUTES, [*getattr(handler, _ROUTES, ()), (method.upper(), pattern)])
        return handler

    return mark


class Sandbox:
    """One vendor. Handlers run in many threads: guard `db` and own state with `lock` or `transaction()`.

    Attributes:
        name: Key for faults, settings, calls and the admin API.
        hosts: Host names the proxy lets through to this sandbox. Two sandboxes may share one: routes decide.
        default_settings: The knobs and their defaults; the admin API refuses a knob that is not listed here.
            Every sandbox also has `latency_ms` (0).
    """

    name: ClassVar[str] = ""
    hosts: ClassVar[tuple[str, ...]] = ()
    default_settings: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, context: SandboxContext) -> None:
        self.context = context
        self.clock = context.clock
        self.settings = context.settings
        self.lock = threading.RLock()
        self.db = context.connect(self.name)
        self._depth = 0
        self._adapter = self._bind_routes()

    def seed(self, accounts: Accounts) -> None:
        """Make the demo account's things exist; called at every start, so it must be idempotent."""

    def admin(self, request: Request, path: str) -> Response | None:
        """Answer an admin request on `/<name>/<path>` (`path` has no leading slash); None if there is no such route."""

    def close(self) -> None:
        """Close what the sandbox opened beside `db`."""

    def bad_request(self, message: str) -> Response:
        """The vendor's 400 for a body that cannot be parsed."""
        return Response(400, {"error": "bad request", "message": message})

    def not_imitated(self, route: str) -> Response:
        """A 501 that names the route, in the vendor's form where clients read one; the members `error` or `message` stay text-like."""
        return Response(501, {"error": "not imitated", "route": route})

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold `lock` and one SQLite transaction: commits at the end, rolls back on any error; may be nested."""
        with self.lock:
            if self._depth == 0:
                self.db.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield self.db
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    self.db.execute("ROLLBACK")
                raise
            self._depth -= 1
            if self._depth == 0:
                self.db.execute("COMMIT")

    def match(self, request: Request) -> tuple[str, Callable[[], Response]] | None:
        """The route (`"GET /v1/x/<y>"`) and a call that runs its handler; None if this sandbox has no such route."""
        path = request.match_path or request.path
        try:
            rule, arguments = self._adapter.match(path, method=request.method, return_rule=True)
        except HTTPException:
            return None
        values = {
            key: value.replace(_ENCODED_SLASH, "/") if isinstance(value, str) else value
            for key, value in arguments.items()
        }
        handler: Callable[..., Response] = getattr(self, rule.endpoint)
        return f"{request.method} {rule.rule}", functools.partial(handler, request, **values)

    def _bind_routes(self) -> MapAdapter:
        rules = Map(strict_slashes=False, merge_slashes=False, redirect_defaults=False)
        for attribute in dir(type(self)):
            for method, pattern in getattr(getattr(type(self), attribute), _ROUTES, ()):
                rules.add(Rule(pattern, endpoint=attribute, methods=[method]))
        return rules.bind(self.hosts[0] if self.hosts else "localhost")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
