"""OpenAPI 3.1 from the route table and the models. API description format: spec.openapis.org/oas/v3.1"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import msgspec

from shared.api.dispatch import model
from shared.api.problems import MEDIA_TYPE
from shared.api.routes import Permission, Route, routes_of
from shared.config import VERSION

PROBLEM = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457. `code` is stable; `detail` says what happened and what to do; `retryable` whether time can help.",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "retryable": {"type": "boolean"},
    },
    "required": ["type", "title", "status", "code", "detail", "retryable"],
}
KINDS = {
    "string": {"type": "string", "minLength": 1},
    "integer": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
    "boolean": {"type": "string", "enum": ["true", "false"]},
    "duration": {"type": "string", "pattern": r"^\d{1,4}s?$"},
}


def document(function: str, url: str) -> dict[str, Any]:
    """Return the OpenAPI document of one function; internal routes are left out because no person calls them."""
    routes = [route for route in routes_of(function) if not route.path.startswith("/internal/")]
    names = sorted({name for route in routes for name in (route.request, route.reply) if name and name != "object"})
    schemas, components = msgspec.json.schema_components(
        [model(name) for name in names], ref_template="#/components/schemas/{name}"
    )
    by_name = dict(zip(names, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_name)
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
            "schemas": {**components, "Problem": PROBLEM},
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


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.handler.split(":")[1],
        "summary": route.summary,
        "parameters": _parameters(route),
        "responses": _responses(route, schemas),
        "x-permission": route.permission.value,
    }
    if route.request:
        media = "application/merge-patch+json" if route.method == "PATCH" else "application/json"
        schema = schemas.get(route.request, {"type": "object"})
        operation["requestBody"] = {"required": route.body_required, "content": {media: {"schema": schema}}}
    if route.permission is Permission.PUBLIC:
        operation["security"] = []
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    found = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
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


def _responses(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status in (route.status, *route.also):
        answer: dict[str, Any] = {"description": HTTPStatus(status).phrase}
        if route.reply:
            schema = schemas.get(route.reply, {"type": "object"})
            answer["content"] = {"application/json": {"schema": schema}}
        responses[str(status)] = answer
    refused = {
        "description": "A problem document",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status in sorted({*route.errors, *_general_errors(route)}):
        responses[str(status)] = refused
    return responses


def _general_errors(route: Route) -> set[int]:
    statuses = set() if route.permission is Permission.PUBLIC else {401, 403, 503}
    if route.request:
        statuses |= {400, 413, 415}
    if route.query or route.idempotency:
        statuses.add(400)
    return statuses | {500}
