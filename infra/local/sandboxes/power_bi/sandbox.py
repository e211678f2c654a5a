"""The sandbox itself: its demo workspace and its admin routes."""

from __future__ import annotations

import json
from typing import ClassVar

from infra.local.accounts import Accounts
from infra.local.sandboxes._base import Request, Response

from .datasets import DatasetRoutes
from .queries import QueryRoutes
from .refreshes import RefreshRoutes
from .rows import shown
from .table_rows import RowRoutes

MAX_LOOK_ROWS = 1_000


class PowerBISandbox(DatasetRoutes, RowRoutes, RefreshRoutes, QueryRoutes):
    """One tenant's Power BI service."""

    name: ClassVar[str] = "power_bi"

    def seed(self, accounts: Accounts) -> None:
        """Make the demo workspace with its member and its import model, unless they are there."""
        workspace = accounts.power_bi.workspace_id
        with self.transaction() as db:
            db.execute("INSERT OR IGNORE INTO workspaces VALUES (?, 'BI connectors demo')", (workspace,))
            db.execute("INSERT OR IGNORE INTO members VALUES (?, ?)", (workspace, accounts.entra.client_id))
            if self.store.dataset(workspace, accounts.power_bi.refresh_dataset_id) is None:
                self.store.add_dataset(
                    workspace,
                    "Volunteering model",
                    "import",
                    "None",
                    accounts.entra.client_id,
                    self.clock.time(),
                    accounts.power_bi.refresh_dataset_id,
                )

    def admin(self, request: Request, path: str) -> Response | None:
        """`GET datasets`, and `GET datasets/<id>/tables/<table>/rows?offset&limit` in the order of arrival."""
        parts = path.split("/")
        if request.method != "GET":
            return None
        if path == "datasets":
            return self._look_at_datasets()
        if len(parts) == 5 and (parts[0], parts[2], parts[4]) == ("datasets", "tables", "rows"):
            return self._look_at_rows(request, parts[1], parts[3])
        return None

    def _look_at_datasets(self) -> Response:
        listed = []
        with self.lock:
            for row in self.store.datasets():
                tables = [
                    {"name": table.name, "columns": table.schema, "rows": self.store.row_count(table)}
                    for table in self.store.tables(row["id"])
                ]
                listed.append({**dict(row), "tables": tables})
        return Response(200, {"datasets": listed})

    def _look_at_rows(self, request: Request, dataset: str, name: str) -> Response:
        offset = max(0, int(request.query.get("offset") or 0))
        limit = min(MAX_LOOK_ROWS, max(0, int(request.query.get("limit") or 100)))
        with self.lock:
            table = self.store.table(dataset, name)
            if table is None:
                return Response(404, {"error": f"dataset {dataset} has no table {name!r}"})
            frame = self.store.frame(table)
        rows = json.loads(shown(frame.slice(offset, limit), table.schema).write_json())
        return Response(200, {"rows": rows, "offset": offset, "total": frame.height})
