"""Every route of every sandbox answers malformed requests as its vendor would: no 500, and no word of Python."""

from __future__ import annotations

import inspect
import json
import random
import re
from collections import Counter
from typing import Any

import pytest

from infra.local import sandboxes
from infra.local.sandboxes._base import _ROUTES, Request, Sandbox
from infra.local.sandboxes.http_server import Reply
from infra.local.sandboxes.server import SandboxServer

SANDBOXES = {kind.name: kind for kind in sandboxes.sandbox_classes()}
PYTHON = re.compile(
    rb"Traceback|NoneType|object has no attribute|object of type|unhashable|not subscriptable|[A-Z]\w+(Error|Exception)\(|"
    rb"argument must be|expected str|invalid literal for|'(int|str|dict|list|float|bool)' |unsupported operand|list index"
)
TIMES = 50
BATCHES = 600  # there are many kinds of them
VENDORS = {"power_bi": "entra", "entra_id": "entra", "looker": "looker"}
UNREACHABLE = (
    ":signBlob",
    "<path:rest>",
    "/myorg/datasets",
    "<refresh>",
    "/jobs/<job>",
    "<build_id>/status",
    "<build_id>/stop",
    "<query_id>",
    "<query_id>/run/<result_format>",
)
"""Ends of routes that a service principal may not use, or that need an id that only an earlier answer gives."""

SCOPES = {
    "google": "https://www.googleapis.com/auth/spreadsheets",
    "entra": "https://analysis.windows.net/powerbi/api/.default",
}
"""What each vendor's tokens are for; Looker's have no scope."""

ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    2**31,
    2**63,
    2**80,
    1e308,
    1.5,
    "",
    "x",
    "🎈\x00'\"; --",
    "9" * 5000,
    [],
    [[]],
    [None],
    {},
    {"a": {}},
]
NAMES = re.findall(
    r"\S+",
    """
    requests data values range ranges fields addSheet updateCells repeatCell copyPaste insertDimension deleteDimension
    appendDimension createDeveloperMetadata updateSheetProperties properties sheetId title gridProperties rowCount start end rows
    cell userEnteredValue numberValue stringValue formulaValue developerMetadata metadataKey visibility location dataFilters
    dataFilter developerMetadataLookup dimension length startIndex endIndex name tables columns dataType type notifyOption
    maxParallelism objects queries query serializerSettings includeNulls model view filters sorts limit triggered_at
    stale_before grant_type client_id client_secret scope assertion valueInputOption majorDimension $top $skip $filter oops
    """,
)


GRID = {"sheetId": 0, "startRowIndex": 0, "endRowIndex": 2, "startColumnIndex": 0, "endColumnIndex": 2}
SPAN = {"sheetId": 0, "dimension": "ROWS", "startIndex": 0, "endIndex": 1}
CELL = {
    "userEnteredValue": {"numberValue": 1},
    "userEnteredFormat": {"numberFormat": {"type": "DATE", "pattern": "yyyy"}},
}
NOTED = {"metadataId": 7, "metadataKey": "k", "visibility": "DOCUMENT", "location": {"dimensionRange": SPAN}}
LOOKUP = {"developerMetadataLookup": {"metadataId": 7, "metadataLocation": {"sheetId": 0}}}
PARTS: list[Any] = [
    {
        "addSheet": {
            "properties": {
                "sheetId": 3,
                "title": "t",
                "index": 0,
                "gridProperties": {"rowCount": 9, "frozenRowCount": 1},
            }
        }
    },
    {"deleteSheet": {"sheetId": 3}},
    {
        "updateSheetProperties": {
            "properties": {"title": "n", "gridProperties": {"rowCount": 50}},
            "fields": "title,gridProperties",
        }
    },
    {"updateSpreadsheetProperties": {"properties": {"title": "n", "timeZone": "x"}, "fields": "*"}},
    {"appendDimension": {"sheetId": 0, "dimension": "ROWS", "length": 1}},
    {"insertDimension": {"range": SPAN, "inheritFromBefore": False}},
    {"deleteDimension": {"range": SPAN}},
    {"copyPaste": {"source": GRID, "destination": GRID, "pasteType": "PASTE_VALUES", "pasteOrientation": "NORMAL"}},
    {"repeatCell": {"range": GRID, "cell": CELL, "fields": "userEnteredValue,userEnteredFormat.numberFormat"}},
    {"updateCells": {"start": {"rowIndex": 0, "columnIndex": 0}, "rows": [{"values": [CELL]}], "fields": "*"}},
    {"updateCells": {"range": GRID, "rows": [{"values": [CELL]}], "fields": "userEnteredValue"}},
    {"appendCells": {"sheetId": 0, "rows": [{"values": [CELL]}], "fields": "userEnteredValue"}},
    {"createDeveloperMetadata": {"developerMetadata": NOTED}},
    {
        "updateDeveloperMetadata": {
            "dataFilters": [LOOKUP],
            "developerMetadata": NOTED,
            "fields": "metadataValue,location",
        }
    },
    {"deleteDeveloperMetadata": {"dataFilter": LOOKUP}},
]
TABLE = {"name": "T", "columns": [{"name": "n", "dataType": "Int64"}], "isHidden": False}
RIGHT: dict[str, list[Any]] = {
    "<book>:batchUpdate": [{"requests": [part], "includeSpreadsheetInResponse": True} for part in PARTS],
    ":search": [{"dataFilters": [LOOKUP]}],
    "/values:batchUpdate": [
        {"valueInputOption": "USER_ENTERED", "data": [{"range": "A1", "values": [["1-2", 1, None, True]]}]}
    ],
    "/values:batchClear": [{"ranges": ["A1"]}],
    "<text>": [{"range": "Dashboard!A1:B2", "majorDimension": "COLUMNS", "values": [["1", 1], [None]]}],
    ":append": [{"majorDimension": "ROWS", "values": [["1", 1], [None]]}],
    "/datasets": [{"name": "d", "defaultMode": "Push", "tables": [TABLE], "relationships": []}],
    "/tables/<table>": [TABLE],
    "/rows": [{"rows": [{"n": 1, "x": 1.5, "ok": True, "text": "t", "at": "2024-01-02", "money": 1}]}],
    "/refreshes": [
        {
            "type": "Full",
            "commitMode": "Transactional",
            "maxParallelism": 2,
            "objects": [{"table": "T"}],
            "timeout": "1:00:00",
        }
    ],
    "/executeQueries": [
        {"queries": [{"query": "EVALUATE ROW(\"n\", COUNTROWS('T'))"}], "serializerSettings": {"includeNulls": True}}
    ],
    "/run/<result_format>": [
        {"model": "volunteering", "view": "planes_summary", "fields": ["planes_summary.n"], "limit": "5"}
    ],
    "/queries": [
        {"model": "volunteering", "view": "planes_summary", "fields": ["planes_summary.n"], "filters": {"a": "b"}}
    ],
    "/datagroups/<datagroup_id>": [{"stale_before": 1, "triggered_at": 1}],
}


def _bent(chance: random.Random, value: Any) -> Any:
    """A right body with one thing in it made wrong, left out or added."""
    if chance.random() < 0.2 or not isinstance(value, dict | list) or not value:
        return chance.choice(ODD)
    if isinstance(value, list):
        at = chance.randrange(len(value))
        return [*value[:at], _bent(chance, value[at]), *value[at + 1 :]]
    name = chance.choice(sorted(value))
    match chance.randrange(8):
        case 0:
            return {key: item for key, item in value.items() if key != name}
        case 1:
            return {**value, chance.choice(NAMES): chance.choice(ODD)}
    return {**value, name: _bent(chance, value[name])}


def _value(chance: random.Random, depth: int) -> Any:
    if depth == 0 or chance.random() < 0.4:
        return chance.choice(ODD)
    if chance.random() < 0.3:
        return [_value(chance, depth - 1) for _ in range(chance.randrange(3))]
    return {chance.choice(NAMES): _value(chance, depth - 1) for _ in range(chance.randrange(1, 4))}


def _body(chance: random.Random, pattern: str) -> bytes:
    right = next((bodies for end, bodies in RIGHT.items() if pattern.endswith(end)), None)
    if right and chance.random() < 0.7:
        return json.dumps(_bent(chance, chance.choice(right))).encode()
    match chance.randrange(8):
        case 0:
            return b""
        case 1:
            return chance.choice([b"{", b"\xff\xfe", b'{"a": NaN}', b"[1,", b"null", b'"x"', b'{"a":1}{', b"[" * 3000])
        case 2:
            return "&".join(f"{chance.choice(NAMES)}={chance.choice(ODD)}" for _ in range(4)).encode()
        case 3:
            return b"a=%ff&grant_type=%zz"
    return json.dumps(_value(chance, 5)).encode()


def _path(chance: random.Random, pattern: str, known: dict[str, str]) -> str:
    def fill(found: re.Match[str]) -> str:
        kind, _, name = found[1].rpartition(":")
        if kind == "int":
            return chance.choice(["0", "1", str(2**31), "9" * 30])
        if name in known and chance.random() < 0.8:
            return known[name]
        return chance.choice(
            ["x", "A1", "Dashboard!A0", "Dashboard!A1:ZZZ99999999999", "-", "9" * 5000, "'", "é", "1:2"]
        )

    return re.sub(r"<([^>]+)>", fill, pattern)


def _known(server: SandboxServer) -> dict[str, str]:
    accounts = server.accounts
    return {
        "book": accounts.google.spreadsheet_id,
        "text": "Dashboard!A1:B2",
        "group": accounts.power_bi.workspace_id,
        "dataset": accounts.power_bi.refresh_dataset_id,
        "table": "T",
        "tenant": accounts.entra.tenant_id,
        "model": accounts.looker.model,
        "view": accounts.looker.view,
        "name": accounts.looker.connection,
        "datagroup_id": accounts.looker.datagroup_id,
        "result_format": "json",
    }


def _routes(kind: type[Sandbox]) -> list[tuple[str, str]]:
    marks = (getattr(member, _ROUTES, ()) for _, member in inspect.getmembers(kind))
    found = {(method, pattern) for mark in marks for method, pattern in mark}
    return sorted(found, key=lambda route: (route[0] == "DELETE", route))  # what is deleted is not there any more


def _tokens(server: SandboxServer, vendor: str) -> str:
    accounts = server.accounts
    subject = {
        "google": accounts.google.service_account_key["client_email"],
        "entra": accounts.entra.client_id,
        "looker": accounts.looker.client_id,
    }[vendor]
    return server.tokens.issue(vendor, subject, SCOPES.get(vendor, ""), 10**6)


def _push_dataset(server: SandboxServer, kind: type[Sandbox]) -> str:
    """The id of a push dataset with the table of `RIGHT`."""
    path = f"/v1.0/myorg/groups/{server.accounts.power_bi.workspace_id}/datasets"
    headers = {"authorization": f"Bearer {_tokens(server, 'entra')}"}
    body = json.dumps(RIGHT["/datasets"][0]).encode()
    reply = server._answer(Request("POST", kind.hosts[0], path, {}, headers, body, (), path))
    return str(json.loads(reply.body)["id"])


def _ask(
    server: SandboxServer, chance: random.Random, kind: type[Sandbox], route: tuple[str, str], known: dict[str, str]
) -> Reply:
    method, pattern = route
    vendor = VENDORS.get(kind.name, "google")
    path = _path(chance, pattern.replace("lookml_models/<name>", "lookml_models/<model>"), known)
    pairs = tuple((chance.choice(NAMES), str(chance.choice(ODD))) for _ in range(chance.choice([0, 0, 0, 1, 2])))
    if pattern.endswith(("<text>", ":append")) and method != "GET":
        pairs = (("valueInputOption", "USER_ENTERED"), *pairs[: 0 if chance.random() < 0.8 else 2])
    headers = {
        "authorization": f"Bearer {_tokens(server, vendor)}",
        "x-powerbi-pushdata-sequencenumber": str(chance.choice(ODD)),
    }
    if chance.random() < 0.7:
        del headers["x-powerbi-pushdata-sequencenumber"]
    request = Request(method, kind.hosts[0], path, dict(reversed(pairs)), headers, _body(chance, pattern), pairs, path)
    return server._answer(request)


@pytest.mark.parametrize("name", sorted(SANDBOXES))
def test_malformed_requests_are_never_a_bug_of_the_sandbox(sandboxes: SandboxServer, name: str) -> None:
    kind, known = SANDBOXES[name], _known(sandboxes)
    if name == "google_sheets":
        limits = {f"{k}_per_minute_per_{w}": 10**6 for k in ("read", "write") for w in ("user", "project")}
        sandboxes.settings(name, **limits)
    if name == "bigquery":
        known |= {"project": "local-project", "dataset": "demo", "table": "volunteers"}
    push = _push_dataset(sandboxes, kind) if name == "power_bi" else ""
    chance, bad, answers = random.Random(20), [], Counter[Any]()
    for route in _routes(kind):
        for _ in range(BATCHES if route[1].endswith("<book>:batchUpdate") else TIMES):
            sandboxes.clock.advance(1)
            if push:
                is_push = "/tables" in route[1] or "/executeQueries" in route[1]
                known["dataset"] = push if is_push else sandboxes.accounts.power_bi.refresh_dataset_id
            reply = _ask(sandboxes, chance, kind, route, known)
            answers[route, reply.status] += 1
            if reply.status == 500 or PYTHON.search(reply.body):
                bad.append((route, reply.status, reply.body[:300]))
    assert bad == []
    reached = {route for route, status in answers if status not in (401, 403, 404, 429)}
    never = [route for route in _routes(kind) if route not in reached and not route[1].endswith(UNREACHABLE)]
    assert never == [], "the requests do not get past the door"
