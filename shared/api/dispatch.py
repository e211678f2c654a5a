"""One HTTP function: find the route, check the caller, read the body, call the handler, write the answer."""

from __future__ import annotations

import importlib
import json
import re
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, BinaryIO

import flask
import msgspec
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import Map, Rule

from shared import audit
from shared.api.auth import Authenticator, Caller
from shared.api.paths import CONVERTERS, rule
from shared.api.problems import MEDIA_TYPE, of_error, problem
from shared.api.routes import ROUTES, Parameter, Route
from shared.errors import BIConnectorsError, InvalidRequestError, not_of_the_form
from shared.redaction import hinted, without_word
from shared.services.records import Idempotency
from shared.services.restoring import MARK, refuse_while_restoring
from shared.telemetry import bind, clear, log_event, request_span

if TYPE_CHECKING:
    from shared.bootstrap import Services

KEY_FORM = re.compile(r"[\x21-\x7e]{1,255}\Z")
EXPECTED = {
    "string": "text that is not empty",
    "integer": "a whole number of at least 1",
    "boolean": "true or false",
    "duration": "seconds such as 30s",
}
PAGE_HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'", "X-Frame-Options": "DENY"}
REQUEST_ID = re.compile(r"[!-~]{1,64}")
OCTETS = "application/octet-stream"
PIECE_BYTES = 1 << 20
YAML_TYPES = frozenset({"application/yaml", "application/x-yaml", "text/yaml"})
DURATION = re.compile(r"([0-9]{1,4})s?")
FRAMEWORK_CODES = {404: "route_not_found", 405: "method_not_allowed", 413: "body_too_large", 415: "not_json"}
"""Our codes for what the framework refuses by itself; every other refusal of its is `invalid_request`, every fault `internal`."""


@dataclass(frozen=True)
class Call:
    """What a handler gets: the decoded body, the path's and the query's values, who calls; header names in lower case."""

    services: Services
    function: str
    route: Route
    body: Any
    path: Mapping[str, str]
    query: Mapping[str, Any]
    caller: Caller
    headers: Mapping[str, str]

    def idempotency(self, body: Any = None) -> Idempotency | None:
        """Return the caller's Idempotency-Key with the body, None if none was sent.

        A digest of the body is stored, so a body that holds secrets must be given without them.
        """
        key = self.headers.get("idempotency-key")
        if key is None:
            return None
        if not KEY_FORM.match(key):
            raise InvalidRequestError(
                "Idempotency-Key must be 1 to 255 visible ASCII characters", field="Idempotency-Key"
            )
        sent = msgspec.to_builtins(self.body, enc_hook=_said) if body is None else body
        used_for = {"path": dict(self.path), "body": sent}
        return Idempotency(key, f"{self.route.method} {self.route.path}", self.caller.email, used_for)

    def if_match(self) -> str | None:
        """Return the version that If-Match names, None if it was not sent or is `*`."""
        value = self.headers.get("if-match")
        return None if value in (None, "*") else str(value).strip().removeprefix("W/").strip('"')


@dataclass(frozen=True)
class Reply:
    """What a handler returns. `body` None sends no body; text is sent as a page of HTML, all else as JSON."""

    body: Any = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Function:
    """A deployed function by name. `services` is called on the first request that needs them."""

    def __init__(self, name: str, services: Callable[[], Services]) -> None:
        self.name = name
        self._services = services
        self._map = Map(
            [
                Rule(rule(route.path), methods=[route.method], endpoint=route)
                for route in ROUTES
                if route.function != "*"
            ]
            + [
                Rule(rule(route.path), methods=[route.method], endpoint=route)
                for route in ROUTES
                if route.function == "*"
            ],
            strict_slashes=False,
            merge_slashes=False,
            converters=CONVERTERS,
        )
        self._authenticators: dict[str, Authenticator] = {}
        if flask.has_app_context():  # the framework's app, in which it loads us, would answer an empty path with a 308
            flask.current_app.url_map.strict_slashes = False

    def __call__(self, request: flask.Request) -> flask.Response:
        """Answer one request; every failure is a problem document."""
        with request_span(f"{request.method} {self.name}", request.headers):
            return self._answer_in_span(request)

    def _answer_in_span(self, request: flask.Request) -> flask.Response:
        started = time.monotonic()
        sent = request.headers.get("X-Request-Id", "")
        request_id = sent if REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
        bind(request_id=request_id, function=self.name)
        try:
            response = self._answer(request, request_id)
        except BIConnectorsError as error:
            document, headers = of_error(error)
            response = _problem_response(document, headers)
        except HTTPException as error:
            response = _http_problem(error)
        except Exception as error:  # noqa: BLE001 - the edge: nothing may leave as a stack trace
            log_event("unhandled", severity="ERROR", error=type(error).__name__, stack_trace=traceback.format_exc())
            document = problem(500, "internal", f"a fault of this service; report it with the request id {request_id}")
            response = _problem_response(document, {})
        response.headers["X-Request-Id"] = request_id
        log_event(
            "request",
            method=request.method,
            path=without_word(request.path),
            status=response.status_code,
            latency_ms=round((time.monotonic() - started) * 1000, 1),
        )
        clear()
        audit.acting()
        return response

    def _answer(self, request: flask.Request, request_id: str) -> flask.Response:
        route, path = self._find(request)
        services = self._services()
        caller = self._authenticator(services).require(route, request.headers)
        bind(caller=caller.email, project=services.settings.project)
        audit.acting(caller.email, request_id)
        if route.method != "GET" and not route.reads_mark:
            refuse_while_restoring(services.stores.documents.get(MARK))
        call = Call(
            services=services,
            function=self.name,
            route=route,
            body=_body(request, route),
            path=path,
            query=_query(request, route),
            caller=caller,
            headers={name.lower(): value for name, value in request.headers.items()},
        )
        module, name = route.handler.split(":")
        reply: Reply = getattr(importlib.import_module(module), name)(call)
        return _response(reply, route)

    def _find(self, request: flask.Request) -> tuple[Route, Mapping[str, str]]:
        adapter = self._map.bind("", path_info=request.path, default_method=request.method)
        try:
            route, path = adapter.match()
        except NotFound as exc:
            raise _Problem(
                404, "route_not_found", f"there is no {request.path} here; /openapi.json lists what there is"
            ) from exc
        except MethodNotAllowed as exc:
            allowed = ", ".join(sorted(exc.valid_methods or []))
            detail = f"{request.method} is not for {request.path}; it takes {allowed}"
            raise _Problem(405, "method_not_allowed", detail, {"Allow": allowed}) from exc
        if route.function not in (self.name, "*"):
            if route.path.startswith("/internal/"):
                raise _Problem(404, "route_not_found", f"there is no {request.path} here")
            url = self._services().settings.urls[route.function]
            detail = f"{request.path} is answered by the {route.function} function: {url}{request.path}"
            raise _Problem(421, "other_function", detail, url=f"{url}{request.path}")
        return route, path

    def _authenticator(self, services: Services) -> Authenticator:
        if self.name not in self._authenticators:
            self._authenticators[self.name] = Authenticator(services.settings, services.settings.urls[self.name])
        return self._authenticators[self.name]


def _said(raw: msgspec.Raw) -> Any:
    """Return what raw JSON says, so that other blanks or another order of keys are the same body; digits beyond a float's count."""
    text = bytes(raw)
    try:
        return json.loads(text, parse_int=_number, parse_float=_number)
    except RecursionError:  # refused later, with its row
        return text.decode()


def _number(text: str) -> float | str:
    """Return a number as digests always had it, or its text where that loses digits."""
    try:
        number = int(text) if text.lstrip("-").isdecimal() else float(text)
        return number if Decimal(repr(number)) == Decimal(text) else text
    except (ValueError, ArithmeticError):  # more digits, or a larger power, than Python takes
        return text


class _Problem(HTTPException):
    """A refusal of the dispatcher itself."""

    def __init__(
        self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(detail)
        self.code = status
        self.document = problem(status, code, detail, **members)
        self.headers = dict(headers or {})


@dataclass(frozen=True)
class Download:
    """A body of any size that is sent piece by piece: an object that is read and closed."""

    source: BinaryIO
    file_name: str

    def pieces(self) -> Iterator[bytes]:
        with self.source as source:
            while piece := source.read(PIECE_BYTES):
                yield piece


def etag(version: str) -> dict[str, str]:
    """Return the ETag header of a document's version."""
    return {"ETag": f'"{version}"'}


def model(name: str) -> Any:
    """Return a request or reply model of the route table by name."""
    if name == "object":
        return dict[str, Any]
    if name == "RegisterRequest":
        return importlib.import_module("shared.api.registration").RegisterRequest
    return getattr(importlib.import_module("shared.models"), name)


def _body(request: flask.Request, route: Route) -> Any:
    if route.request is None:
        return None
    raw = request.stream.read(route.max_body_bytes + 1) if request.content_length != 0 else b""
    if len(raw) > route.max_body_bytes:
        raise _Problem(
            413, "body_too_large", f"the body is over {route.max_body_bytes} bytes; send a file instead of rows"
        )
    kind = model(route.request)
    if not raw:
        if route.body_required:
            raise InvalidRequestError("a JSON body is required", field="$")
        return {} if route.request == "object" else kind()
    if route.yaml and request.mimetype in YAML_TYPES:
        return _converted(_yaml(raw), kind)
    if request.mimetype not in ("application/json", "application/merge-patch+json"):
        raise _Problem(415, "not_json", f"Content-Type is {request.mimetype or 'missing'}; expected application/json")
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as exc:
        raise not_of_the_form(exc) from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidRequestError(f"the body is not JSON: {exc}", field="$") from exc


def _yaml(raw: bytes) -> Any:
    return importlib.import_module("shared.api.yaml_body").decode(raw)


def _converted(value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as exc:
        raise not_of_the_form(exc) from exc


def _query(request: flask.Request, route: Route) -> dict[str, Any]:
    known = {parameter.name: parameter for parameter in route.query}
    values: dict[str, Any] = {}
    for name, text in request.args.items():
        if name not in known:
            expected = ", ".join(known) or "none"
            raise InvalidRequestError(
                f"unknown query parameter {hinted(name)!r}; this route takes {expected}", field="query"
            )
        values[name] = _parse(known[name], text)
    return values


def _parse(parameter: Parameter, text: str) -> Any:
    if parameter.kind == "boolean" and text in ("true", "false"):
        return text == "true"
    if parameter.kind == "integer" and re.fullmatch("[0-9]{1,9}", text) and int(text) > 0:
        return int(text)
    if parameter.kind == "duration" and (found := DURATION.fullmatch(text)):
        return float(found.group(1))
    if parameter.kind == "string" and text:
        return text
    expected = EXPECTED[parameter.kind]
    raise InvalidRequestError(f"{parameter.name} is {hinted(text)!r}; expected {expected}", field=parameter.name)


def _response(reply: Reply, route: Route) -> flask.Response:
    status = reply.status or route.status
    if reply.body is None:
        return flask.Response(status=status, headers=dict(reply.headers))
    if isinstance(reply.body, str):
        return flask.Response(
            reply.body, status=status, headers={**PAGE_HEADERS, **reply.headers}, mimetype="text/html"
        )
    if isinstance(reply.body, Download):
        named = {"Content-Disposition": f'attachment; filename="{reply.body.file_name}"'}
        return flask.Response(reply.body.pieces(), status, {**reply.headers, **named}, mimetype=OCTETS)
    body = msgspec.json.encode(reply.body)
    return flask.Response(body, status=status, headers=dict(reply.headers), mimetype="application/json")


def _problem_response(document: Mapping[str, Any], headers: Mapping[str, str]) -> flask.Response:
    body = json.dumps(document, default=str)
    return flask.Response(body, status=document["status"], headers=dict(headers), mimetype=MEDIA_TYPE)


def _http_problem(error: HTTPException) -> flask.Response:
    if isinstance(error, _Problem):
        return _problem_response(error.document, error.headers)
    status = error.code or 500
    code = FRAMEWORK_CODES.get(status, "invalid_request" if status < 500 else "internal")
    return _problem_response(problem(status, code, error.description or "the request was refused"), {})
