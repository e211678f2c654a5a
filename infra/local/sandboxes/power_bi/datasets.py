"""Routes of workspaces, datasets and tables."""

from __future__ import annotations

import re
import sqlite3
import uuid
from datetime import UTC, datetime
from typing import Any

from infra.local.sandboxes._base import Request, Response

from . import errors
from .columns import read_dataset, read_table
from .core import DATASET, GROUP, Core, api, collection, count

LAST_CREATION = datetime(
    2027, 11, 1, tzinfo=UTC
)  # "until October 31st, 2027": power-bi/connect-data/service-real-time-streaming
_FILTERS = (
    (re.compile(r"\s*name eq '([^']*)'\s*"), lambda row, text: row["name"] == text),
    (re.compile(r"\s*id eq '([^']*)'\s*"), lambda row, text: row["id"] == text.lower()),
    (re.compile(r"\s*contains\(name,\s*'([^']*)'\)\s*"), lambda row, text: text.lower() in row["name"].lower()),
)
_CAPACITY_ID = uuid.uuid5(uuid.NAMESPACE_DNS, "capacity.local")


class DatasetRoutes(Core):
    """Workspaces, datasets, tables; and the URLs that a service principal must not use."""

    @api("GET", "/v1.0/myorg/datasets")
    @api("POST", "/v1.0/myorg/datasets")
    @api("GET", "/v1.0/myorg/datasets/<path:rest>")
    @api("POST", "/v1.0/myorg/datasets/<path:rest>")
    @api("PUT", "/v1.0/myorg/datasets/<path:rest>")
    @api("PATCH", "/v1.0/myorg/datasets/<path:rest>")
    @api("DELETE", "/v1.0/myorg/datasets/<path:rest>")
    def my_workspace(self, request: Request, rest: str = "") -> Response:
        """403: a service principal has no My workspace."""
        del rest
        self.caller(request)
        return Response(403, {"Message": "API is not accessible for application"})

    @api("GET", "/v1.0/myorg/groups")
    def list_groups(self, request: Request) -> Response:
        """Workspaces that the caller is a member of."""
        query = (
            "SELECT w.* FROM workspaces w JOIN members m ON m.workspace_id = w.id WHERE m.client_id = ? ORDER BY w.name"
        )
        with self.lock:
            rows = self.db.execute(query, (self.caller(request),)).fetchall()
        wanted = request.query.get("$filter")
        if wanted:
            for pattern, keeps in _FILTERS:
                if match := pattern.fullmatch(wanted):
                    rows = [row for row in rows if keeps(row, match[1])]
                    break
            else:
                raise errors.not_imitated(f"$filter {wanted}")
        skip, top = count(request, "$skip", 0), count(request, "$top", 5000)
        return collection([self._group(row) for row in rows[skip : skip + top]], "$metadata#groups")

    @api("GET", GROUP)
    def get_group(self, request: Request, group: str) -> Response:
        """One workspace."""
        return Response(200, self._group(self.need_workspace(request, group)))

    @api("GET", f"{GROUP}/datasets")
    def list_datasets(self, request: Request, group: str) -> Response:
        """Datasets of a workspace."""
        self.need_workspace(request, group)
        with self.lock:
            rows = self.store.datasets(group.lower())
        return collection([_dataset(row) for row in rows], f"{group}/$metadata#datasets")

    @api("POST", f"{GROUP}/datasets")
    def create_dataset(self, request: Request, group: str) -> Response:
        """Create a push dataset; names need not be unique."""
        self.need_workspace(request, group)
        if self.clock.now() >= LAST_CREATION:
            raise errors.invalid("Creation of push semantic models is no longer supported")
        retention = request.query.get("defaultRetentionPolicy", "None")
        if retention not in ("None", "basicFIFO"):
            raise errors.invalid(f"Unknown defaultRetentionPolicy '{retention}'")
        body = request.json()
        tables = read_dataset(body)
        with self.transaction():
            key = self.store.add_dataset(
                group.lower(), body["name"], "push", retention, self.caller(request), self.clock.time()
            )
            for name, schema in tables.items():
                self.store.add_table(key, name, schema)
        return Response(201, {"id": key, "name": body["name"], "defaultRetentionPolicy": retention})

    @api("GET", DATASET)
    def get_dataset(self, request: Request, group: str, dataset: str) -> Response:
        """One dataset."""
        return Response(200, _dataset(self.need_dataset(request, group, dataset)))

    @api("DELETE", DATASET)
    def delete_dataset(self, request: Request, group: str, dataset: str) -> Response:
        """Delete a dataset with all that it holds."""
        self.need_dataset(request, group, dataset)
        with self.transaction() as db:
            db.execute("DELETE FROM datasets WHERE id = ?", (dataset,))
        return Response(200)

    @api("GET", f"{DATASET}/tables")
    def list_tables(self, request: Request, group: str, dataset: str) -> Response:
        """Tables of a push dataset: names, with the column list empty (columns do not come back)."""
        row = self.need_dataset(request, group, dataset)
        if row["kind"] != "push":
            raise errors.not_push(dataset)
        with self.lock:
            tables = self.store.tables(dataset)
        return collection(
            [{"name": table.name, "columns": []} for table in tables], f"{group}/datasets/{dataset}/$metadata#tables"
        )

    @api("PUT", f"{DATASET}/tables/<table>")
    def put_table(self, request: Request, group: str, dataset: str, table: str) -> Response:
        """Replace a table's columns; a column with rows cannot change its type."""
        _, found = self.need_push_table(request, group, dataset, table)
        name, schema = read_table(request.json())
        if name != table:
            raise errors.invalid(f"The table is called '{table}', the body says '{name}'")
        with self.transaction():
            retyped = [column for column, kind in schema.items() if found.schema.get(column, kind) != kind]
            if retyped and self.store.row_count(found):
                raise errors.invalid(f"Column '{retyped[0]}' holds rows; its data type cannot change")
            self.store.put_columns(found, schema)
        return Response(200, {"name": name, "columns": [{"name": c, "dataType": k} for c, k in schema.items()]})

    def _group(self, row: sqlite3.Row) -> dict[str, Any]:
        dedicated = self.settings["capacity"] == "premium"
        group: dict[str, Any] = {
            "id": row["id"],
            "isReadOnly": False,
            "isOnDedicatedCapacity": dedicated,
            "name": row["name"],
        }
        return {**group, "capacityId": str(_CAPACITY_ID)} if dedicated else group


def _dataset(row: sqlite3.Row) -> dict[str, Any]:
    is_push = row["kind"] == "push"
    return {
        "id": row["id"],
        "name": row["name"],
        "webUrl": f"https://app.powerbi.com/groups/{row['workspace_id']}/datasets/{row['id']}",
        "addRowsAPIEnabled": is_push,
        "configuredBy": row["configured_by"],
        "isRefreshable": not is_push,
        "isEffectiveIdentityRequired": False,
        "isEffectiveIdentityRolesRequired": False,
        "isOnPremGatewayRequired": False,
        "createdDate": datetime.fromtimestamp(row["created_at"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "targetStorageMode": "PremiumFiles" if not is_push else "Abf",
    }
