"""OpenAPI 3.1 from the route table and the models. API description format: spec.openapis.org/oas/v3.1"""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec

from shared.api import examples
from shared.api.dispatch import OCTETS, model
from shared.api.paths import PATTERNS
from shared.api.problems import MEDIA_TYPE, SCHEMA
from shared.api.routes import API, Permission, Route, routes_of
from shared.config import VERSION
from shared.models._base import END

KINDS = {
    "string": {"type": "string", "minLength": 1},
    "integer": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
    "boolean": {"type": "string", "enum": ["true", "false"]},
    "duration": {"type": "string", "pattern": r"^[0-9]{1,4}s?$"},
}
RESOURCES = {
    "Connector": (f"{API}/{{name}}", "name"),
    "Job": (f"{API}/export-jobs/{{id}}", "id"),
    "RefreshRun": (f"{API}/refresh-runs/{{id}}", "id"),
    "Schedule": (f"{API}/schedules/{{id}}", "id"),
    "Table": (f"{API}/tables/{{name}}", "name"),
}
"""Replies that are one stored thing, with an ETag: the path that it is found under, and the member that names it."""
HEADERS = {
    "X-Request-Id": ("Names this request in the log and in the audit entries.", {"type": "string"}, True),
    "ETag": ("Version of what is answered; send it as If-Match.", {"type": "string"}, True),
    "Location": ("Path of what was made.", {"type": "string"}, True),
    "Retry-After": ("Seconds after which it is worth asking again.", {"type": "string", "pattern": "^[0-9]+$"}, False),
    "RateLimit-Policy": (
        "Refreshes (q) that the connector's vendor takes in so many seconds (w), others' included; absent where it sets no number.",
        {"type": "string", "pattern": '^"refreshes";q=[0-9]+;w=[0-9]+$'},
        False,
    ),
    "Allow": ("The methods that the path takes.", {"type": "string"}, True),
}


def document(function: str, url: str) -> dict[str, Any]:
    """Return the OpenAPI document of one function; internal routes are left out because no person calls them."""
    routes = [route for route in routes_of(function) if not route.path.startswith("/internal/")]
    names = sorted({name for route in routes for name in (route.request, route.reply) if name and name[0].isupper()})
    schemas, components = msgspec.json.schema_components(
        [model(name) for name in names], ref_template="#/components/schemas/{name}"
    )
    by_name = dict(zip(names, map(_published, schemas), strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_name, routes)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"BI connectors: {function}",
            "version": VERSION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": url}],
        "security": [{"google_id_token": []}],
        "paths": paths,
        "components": {
            "schemas": {**_published(components), "Problem": SCHEMA},
            "responses": {str(status): _problem(status) for status in examples.PROBLEMS},
            "headers": {name: _header(name) for name in HEADERS},
            "securitySchemes": {
                "google_id_token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "A Google-signed ID token whose audience is the function's URL.",
                }
            },
        },
    }


def _published(schema: Any) -> Any:
    """Return a schema with its patterns as JSON Schema has them, which are those of ECMA-262."""
    if isinstance(schema, dict):
        return {
            key: part.replace(END, "$") if key == "pattern" and isinstance(part, str) else _published(part)
            for key, part in schema.items()
        }
    return [_published(part) for part in schema] if isinstance(schema, list) else schema


def statuses_of(route: Route) -> set[int]:
    """Return every status of a problem that a route can answer."""
    statuses = {400, 500, *route.errors}
    if route.permission is not Permission.PUBLIC:
        statuses |= {401, 403, 503}
    if "{" in route.path:
        statuses.add(404)
    if route.request:
        statuses |= {413, 415}
    return statuses


def operation_id(route: Route) -> str:
    """Return the name of an operation: that of its handler."""
    return route.handler.split(":")[1]


def _operation(route: Route, schemas: dict[str, Any], routes: Iterable[Route]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": operation_id(route),
        "summary": route.summary,
        "parameters": _parameters(route),
        "responses": _responses(route, schemas, routes),
        "x-permission": route.permission.value,
    }
    if route.request:
        media = "application/merge-patch+json" if route.method == "PATCH" else "application/json"
        content: dict[str, Any] = {"schema": schemas.get(route.request, {"type": "object"})}
        if given := examples.REQUESTS.get(operation_id(route)):
            content["examples"] = {name: {"value": value} for name, value in given.items()}
        operation["requestBody"] = {"required": route.body_required, "content": {media: content}}
    if route.permission is Permission.PUBLIC:
        operation["security"] = []
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    found = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": _pattern(route, name)}}
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    found += [
        {"name": item.name, "in": "query", "description": item.description, "schema": KINDS[item.kind]}
        for item in route.query
    ]
    if route.idempotency:
        text = "The same key and body again give the first answer; another body is refused."
        schema = {"type": "string", "pattern": "^[!-~]{1,255}$"}
        found.append({"name": "Idempotency-Key", "in": "header", "description": text, "schema": schema})
    if route.if_match:
        text = "The ETag that was read; the change is refused if it is not the present one."
        found.append({"name": "If-Match", "in": "header", "description": text, "schema": {"type": "string"}})
    return found


def _pattern(route: Route, parameter: str) -> str:
    return next(pattern for place, pattern in PATTERNS.items() if f"{place}{{{parameter}}}" in route.path)


def _responses(route: Route, schemas: dict[str, Any], routes: Iterable[Route]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status in (route.status, *route.also):
        answer: dict[str, Any] = {"description": HTTPStatus(status).phrase, "headers": _headers(route, status)}
        if route.reply:
            answer["content"] = _content(route, schemas)
        if links := _links(route, status, routes):
            answer["links"] = links
        responses[str(status)] = answer
    for status in sorted(statuses_of(route)):
        responses[str(status)] = {"$ref": f"#/components/responses/{status}"}
    return responses


def _content(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    if route.reply == "file":
        return {OCTETS: {"schema": {"type": "string", "format": "binary"}}}
    if route.reply == "html":
        return {"text/html": {"schema": {"type": "string"}}}
    content: dict[str, Any] = {"schema": schemas.get(str(route.reply), {"type": "object"})}
    if str(route.reply) in examples.REPLIES:
        content["example"] = examples.REPLIES[str(route.reply)]
    return {"application/json": content}


def _headers(route: Route, status: int) -> dict[str, Any]:
    names = ["X-Request-Id"]
    if route.reply in RESOURCES:
        names += ["ETag"]
        if route.method == "POST" and status in (201, 202):
            names += ["Location"]
        if route.reply in ("Job", "RefreshRun"):
            names += ["Retry-After"]
    if operation_id(route) == "start_refresh":
        names += ["RateLimit-Policy"]
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _links(route: Route, status: int, routes: Iterable[Route]) -> dict[str, Any]:
    """Return what can be asked next of the thing that was just made."""
    if route.reply not in RESOURCES or (route.method, status) not in {("POST", 201), ("POST", 202), ("PUT", 201)}:
        return {}
    path, member = RESOURCES[route.reply]
    return {
        operation_id(other): {
            "operationId": operation_id(other),
            "parameters": {member: f"$response.body#/{member}"},
        }
        for other in routes
        if other.path.startswith(path)
    }


def _header(name: str) -> dict[str, Any]:
    text, schema, is_sure = HEADERS[name]
    return {"description": text, "schema": schema, "required": is_sure}


def _problem(status: int) -> dict[str, Any]:
    content = {"schema": {"$ref": "#/components/schemas/Problem"}, "example": examples.PROBLEMS[status]}
    names = ["X-Request-Id", *(["Retry-After"] if status == 503 else [])]
    return {
        "description": HTTPStatus(status).phrase,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
        "content": {MEDIA_TYPE: content},
    }
