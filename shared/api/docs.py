"""The API as a page of HTML: from the same documents as `/openapi.json`, without a script and without anything from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from shared.api.openapi import document
from shared.api.problem_codes import meanings

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
code, pre { font-family: ui-monospace, monospace; font-size: 13px }
pre { background: #f5f5f2; padding: .7rem; overflow: auto; max-height: 24rem }
summary { cursor: pointer; padding: .3rem 0 } summary b { display: inline-block; width: 4.5rem }
table { border-collapse: collapse } td, th { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0 }
.who { color: #777; float: right }
@media (prefers-color-scheme: dark) { body { background: #1b1b1b; color: #ddd } pre { background: #2a2a2a } }
"""


def page(urls: Mapping[str, str]) -> str:
    """Return the description of every function's routes; `urls` are the functions' by name."""
    parts = ["<p>Machine-readable: <code>/openapi.json</code> of each function.</p>"]
    for function in ("register", "export", "refresh"):
        described = document(function, urls[function])
        parts.append(f"<h2>{escape(function)}</h2><p><code>{escape(urls[function])}</code></p>")
        parts += [
            _operation(method, path, operation)
            for path, item in described["paths"].items()
            for method, operation in item.items()
        ]
        parts.append(_block("Schemas", described["components"]["schemas"]))
    rows = "".join(
        f'<tr id="{code}"><td><code>{code}</code></td><td>{escape(text)}</td></tr>' for code, text in meanings().items()
    )
    parts.append(f"<h2>Error codes</h2><table>{rows}</table>")
    return _html("BI connectors", "".join(parts))


def problem_page(code: str, meaning: str) -> str:
    """Return the page of one error code."""
    return _html(code, f"<p>{escape(meaning)}</p><p><a href='/docs'>The whole API</a></p>")


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    content = "".join(_details(operation))
    head = f"<b>{method.upper()}</b> <code>{escape(path)}</code> {escape(operation['summary'])}"
    return f"<details><summary>{head} <span class=who>{escape(operation['x-permission'])}</span></summary>{content}</details>"


def _details(operation: Mapping[str, Any]) -> Iterator[str]:
    if operation["parameters"]:
        rows = "".join(
            f"<tr><td><code>{escape(item['name'])}</code></td><td>{item['in']}</td>"
            f"<td>{escape(item.get('description', ''))}</td><td><code>{escape(json.dumps(item['schema']))}</code></td></tr>"
            for item in operation["parameters"]
        )
        yield f"<h4>Parameters</h4><table>{rows}</table>"
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        yield _block(f"Body: {media}", content["schema"])
        for name, example in content.get("examples", {}).items():
            yield _block(f"Example: {name}", example["value"])
    yield "<h4>Answers</h4>"
    for status, answer in operation["responses"].items():
        for media, content in answer.get("content", {"": {}}).items():
            if "$ref" not in answer:
                yield _block(
                    f"{status} {answer['description']} {media}", content.get("example", content.get("schema", {}))
                )
    refused = ", ".join(status for status, answer in operation["responses"].items() if "$ref" in answer)
    yield f"<p>Refused with a problem document: {refused}</p>"


def _block(title: str, value: Any) -> str:
    text = escape(json.dumps(value, indent=1, ensure_ascii=False))
    return f"<details><summary>{escape(title)}</summary><pre>{text}</pre></details>"


def _html(title: str, body: str) -> str:
    head = f"<meta charset=utf-8><meta name=viewport content='width=device-width'><title>{escape(title)}</title>"
    return f"<!doctype html><html lang=en><head>{head}<style>{STYLE}</style></head><body><h1>{escape(title)}</h1>{body}</body></html>"
