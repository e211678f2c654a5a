"""A stranger's client of the Power BI API, made of plain requests."""

from __future__ import annotations

import json
import uuid
from typing import Any

import requests

from infra.local.sandboxes.server import SandboxServer

API = "https://api.powerbi.com/v1.0/myorg"
COLUMNS = [
    {"name": "n", "dataType": "Int64"},
    {"name": "x", "dataType": "double"},
    {"name": "ok", "dataType": "bool"},
    {"name": "text", "dataType": "string"},
    {"name": "at", "dataType": "DateTime"},
    {"name": "money", "dataType": "Decimal"},
]
HEADER = "X-PowerBI-PushData-SequenceNumber"


class Client:
    """A bearer of the demo principal's token."""

    def __init__(self, server: SandboxServer) -> None:
        self.server = server
        self.group = f"{API}/groups/{server.accounts.power_bi.workspace_id}"
        self.model = f"{self.group}/datasets/{server.accounts.power_bi.refresh_dataset_id}"
        self.http = requests.Session()
        self.http.headers["Authorization"] = f"Bearer {self.token()}"

    def token(self) -> str:
        entra = self.server.accounts.entra
        form = {
            "grant_type": "client_credentials",
            "client_id": entra.client_id,
            "client_secret": entra.client_secret,
            "scope": "https://analysis.windows.net/powerbi/api/.default",
        }
        url = f"https://login.microsoftonline.com/{entra.tenant_id}/oauth2/v2.0/token"
        return str(requests.post(url, data=form, timeout=10).json()["access_token"])

    def call(self, method: str, url: str, body: Any = None, **options: Any) -> requests.Response:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **options.pop("headers", {})}
        return self.http.request(method, url, data=data, timeout=60, headers=headers, **options)

    def create(self, columns: list[dict[str, str]] = COLUMNS, retention: str = "None") -> str:
        """The URL of a new dataset with one table T."""
        body = {"name": f"d {uuid.uuid4()}", "defaultMode": "Push", "tables": [{"name": "T", "columns": columns}]}
        answer = self.call("POST", f"{self.group}/datasets", body, params={"defaultRetentionPolicy": retention})
        assert answer.status_code == 201
        return f"{self.group}/datasets/{answer.json()['id']}"

    def push(self, dataset: str, rows: list[dict[str, Any]], number: int | None = None) -> requests.Response:
        headers = {} if number is None else {HEADER: str(number)}
        return self.call("POST", f"{dataset}/tables/T/rows", {"rows": rows}, headers=headers)

    def query(self, dataset: str, query: str, include_nulls: bool = True) -> requests.Response:
        body = {"queries": [{"query": query}], "serializerSettings": {"includeNulls": include_nulls}}
        return self.call("POST", f"{dataset}/executeQueries", body)

    def rows(self, dataset: str, order: str = "n") -> list[dict[str, Any]]:
        answer = self.query(dataset, f"EVALUATE TOPNSKIP(100, 0, 'T', 'T'[{order}], ASC)")
        return list(answer.json()["results"][0]["tables"][0]["rows"])

    def count(self, dataset: str) -> int:
        answer = self.query(dataset, "EVALUATE ROW(\"n\", COUNTROWS('T'))")
        return int(answer.json()["results"][0]["tables"][0]["rows"][0]["[n]"] or 0)
