"""Reads contracts: Swagger 2 (Power BI), OpenAPI 3 (Looker, and our own notes), Google discovery (Sheets, BigQuery)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.conformance.contracts.contract import Answer, Contract, Operation, Parameter
from tests.conformance.contracts.schema import Schema

FILES = {
    "power_bi": "powerbi.swagger.json",
    "looker": "Looker.4.0.oas.json",
    "google_sheets": "sheets.v4.json",
    "bigquery": "bigquery.v2.json",
}
LOOKER_BASE = "/api/4.0"  # the document's own server is a developer's localhost:20000
_METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
_SCHEMA_KEYS = ("type", "format", "enum", "pattern", "items", "minimum", "maximum", "maxLength", "$ref")
_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")


def folder() -> Path:
    """Where the contracts lie: VENDOR_CONTRACTS, by default `../shared/vendors/specs` beside the checkout."""
    beside = Path(__file__).resolve().parents[3].parent / "shared" / "vendors" / "specs"
    return Path(os.environ.get("VENDOR_CONTRACTS") or beside)


def missing() -> str:
    """Why the contracts cannot be read; empty if they can."""
    lacking = [name for name in FILES.values() if not (folder() / name).is_file()]
    if not lacking:
        return ""
    return (
        f"THE VENDORS' CONTRACTS ARE NOT HERE: {folder()} lacks {', '.join(lacking)}, so no request or answer is checked "
        "against them; set VENDOR_CONTRACTS to a folder that has them"
    )


def load_all() -> dict[str, Contract]:
    """The contracts by sandbox name."""
    return {
        "power_bi": swagger("power_bi", _read("power_bi")),
        "looker": openapi("looker", _read("looker"), LOOKER_BASE),
        "google_sheets": discovery("google_sheets", _read("google_sheets")),
        "bigquery": discovery("bigquery", _read("bigquery")),
    }


def swagger(vendor: str, document: Mapping[str, Any]) -> Contract:
    """A Swagger 2 document."""
    base = document.get("basePath", "").rstrip("/")
    operations = []
    for path, method, body in _operations(document):
        listed = [_deref(document, each) for each in body.get("parameters", [])]
        sent = next((each for each in listed if each["in"] == "body"), None)
        operations.append(
            Operation(
                method,
                base + path,
                tuple(_swagger_parameter(each) for each in listed if each["in"] != "body"),
                sent["schema"] if sent else _form(listed),
                bool(sent and sent.get("required")),
                tuple(body.get("consumes") or ()),
                {
                    int(status): Answer(
                        answer.get("schema"), tuple(body.get("produces") or ()), _lower(answer.get("headers"))
                    )
                    for status, answer in body["responses"].items()
                    if status.isdigit()
                },
            )
        )
    return Contract(vendor, operations, _readable_patterns(document))


def openapi(vendor: str, document: Mapping[str, Any], base: str = "") -> Contract:
    """An OpenAPI 3 document; paths are below `base`."""
    operations = []
    for path, method, body in _operations(document):
        parameters = tuple(
            Parameter(
                each["name"],
                each["in"],
                each.get("schema", {}),
                bool(each.get("required")),
                _style(each),
            )
            for each in (_deref(document, one) for one in body.get("parameters", []))
        )
        request = _deref(document, body.get("requestBody", {}))
        content = request.get("content", {})
        operations.append(
            Operation(
                method,
                base + path,
                parameters,
                next((each.get("schema", {}) for each in content.values()), None),
                bool(request.get("required")),
                tuple(content),
                {int(status): _answer(document, one) for status, one in body["responses"].items() if status.isdigit()},
            )
        )
    return Contract(vendor, operations, document)


def discovery(vendor: str, document: Mapping[str, Any]) -> Contract:
    """A Google discovery document (discovery#restDescription, v1)."""
    rewritten: dict[str, Any] = json.loads(json.dumps(document), object_hook=_with_pointer)
    common = [_google_parameter(name, each) for name, each in rewritten.get("parameters", {}).items()]
    operations = []
    for method in _google_methods(rewritten["resources"]):
        own = [_google_parameter(name, each) for name, each in method.get("parameters", {}).items()]
        request, response = method.get("request"), method.get("response")
        operations.append(
            Operation(
                method["httpMethod"],
                "/" + rewritten.get("servicePath", "") + method["path"].replace("{+", "{"),
                (*own, *common),
                request,
                False,  # an empty body is the message with every field unset
                ("application/json",) if request else (),
                {200: Answer(response, ("application/json",))},
            )
        )
    return Contract(vendor, operations, rewritten, takes_fields=True)


def _read(vendor: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder() / FILES[vendor]).read_text(encoding="utf-8"))
    return document


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        shared = methods.get("parameters", [])
        for method, body in methods.items():
            if method in _METHODS:
                yield path, method.upper(), {**body, "parameters": [*shared, *body.get("parameters", [])]}


def _deref(document: Mapping[str, Any], part: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a `$ref` to a parameter, body or response leads to."""
    found: Any = part
    while "$ref" in found:
        pointer, found = found["$ref"].removeprefix("#/").split("/"), document
        for name in pointer:
            found = found[name]
    resolved: Mapping[str, Any] = found
    return resolved


def _swagger_parameter(each: Mapping[str, Any]) -> Parameter:
    schema = {key: each[key] for key in _SCHEMA_KEYS if key in each}
    style = "single"
    if schema.get("type") == "array":
        style = "repeated" if each.get("collectionFormat") == "multi" else "commas"
    return Parameter(each["name"], each["in"], schema, bool(each.get("required")), style)


def _form(parameters: list[Mapping[str, Any]]) -> Schema | None:
    return {"type": "object"} if any(each["in"] == "formData" for each in parameters) else None


def _style(parameter: Mapping[str, Any]) -> str:
    if parameter.get("schema", {}).get("type") != "array":
        return "single"
    return "repeated" if parameter.get("explode", parameter["in"] == "query") else "commas"


def _answer(document: Mapping[str, Any], answer: Mapping[str, Any]) -> Answer:
    found = _deref(document, answer)
    content = found.get("content", {})
    schema = next((each.get("schema") for each in content.values()), None)
    headers = {name: one.get("schema", {}) for name, one in found.get("headers", {}).items()}
    return Answer(schema, tuple(content), _lower(headers))


def _lower(headers: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name.lower(): schema for name, schema in (headers or {}).items()}


def _readable_patterns(document: Mapping[str, Any]) -> dict[str, Any]:
    r"""Microsoft's patterns in a form that Python reads as they are meant: `\u10000` is `\u1000` and `0` to it."""

    def mend(part: dict[str, Any]) -> dict[str, Any]:
        if isinstance(part.get("pattern"), str):
            part["pattern"] = part["pattern"].replace(r"\u10000-\u10FFFF", r"\U00010000-\U0010FFFF")
        return part

    mended: dict[str, Any] = json.loads(json.dumps(document), object_hook=mend)
    return mended


def _with_pointer(part: dict[str, Any]) -> dict[str, Any]:
    if isinstance(part.get("$ref"), str):
        part["$ref"] = f"#/schemas/{part['$ref']}"
    return part


def _google_methods(resources: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for resource in resources.values():
        yield from resource.get("methods", {}).values()
        yield from _google_methods(resource.get("resources", {}))


def _google_parameter(name: str, each: Mapping[str, Any]) -> Parameter:
    schema: dict[str, Any] = {key: each[key] for key in _SCHEMA_KEYS if key in each}
    if each.get("repeated"):
        return Parameter(name, each["location"], {"type": "array", "items": schema}, False, "repeated")
    return Parameter(name, each["location"], schema, bool(each.get("required")))
