"""Registered tables, and what `table_name` stands for."""

from __future__ import annotations

from typing import Any

from shared import audit
from shared.errors import InvalidRequestError, NotFoundError
from shared.models import ExportFormat, Source, Table, TableBody, TablePage
from shared.pipeline.preparing.checks import check_rules
from shared.ports import Document, Query, Stores
from shared.services.records import Page, from_record, list_page, require, to_record
from shared.services.sources import check


class Tables:
    """The use cases around `tables/{name}`."""

    def __init__(self, stores: Stores, tables_bucket: str) -> None:
        self._stores = stores
        self._bucket = tables_bucket

    def put(self, name: str, body: TableBody) -> tuple[Document, bool]:
        """Create or replace; returns the document and whether it is new."""
        check(body.source)
        check_rules(body.mapping, body.contract)
        table = Table(
            name=name,
            source=body.source,
            description=body.description,
            mapping=body.mapping,
            contract=body.contract,
            max_rejects=body.max_rejects,
            updated_at=self._stores.clock.now(),
        )

        def work(tx: Any) -> bool:
            before, after = tx.get(f"tables/{name}"), to_record(table)
            tx.set(f"tables/{name}", after)
            audit.record(
                tx, table.updated_at, "table.put", f"tables/{name}", before=before.data if before else None, after=after
            )
            return before is None

        is_new = self._stores.documents.transact(work)
        return self.get(name), is_new

    def get(self, name: str) -> Document:
        return require(self._stores.documents, f"tables/{name}", f"table {name!r}")

    def list(self, page: Page) -> TablePage:
        found, token = list_page(self._stores.documents, Query("tables"), page)
        return TablePage(tables=[from_record(Table, item.data) for item in found], next_page_token=token)

    def delete(self, name: str) -> None:
        before, now = self.get(name), self._stores.clock.now()

        def work(tx: Any) -> None:
            tx.delete(f"tables/{name}")
            audit.record(tx, now, "table.delete", f"tables/{name}", before=before.data)

        self._stores.documents.transact(work)

    def registered(self, name: str) -> Table | None:
        """Return the table of this name, None if it is not registered."""
        found = self._stores.documents.get(f"tables/{name}")
        return None if found is None else from_record(Table, found.data)

    def find(self, name: str) -> Source:
        """Return the registered source of a table, else the one file of its name in the tables bucket.

        Raises:
            NotFoundError: neither exists; the message says where it was looked for.
            InvalidRequestError: several files fit.
        """
        registered = self.registered(name)
        if registered is not None:
            return registered.source
        found = []
        for ending in ExportFormat:
            info = self._stores.objects.stat(self._bucket, f"{name}.{ending.value}")
            if info is not None:
                found.append(Source(uri=info.uri, format=ending))
        if not found:
            endings = ", ".join(ending.value for ending in ExportFormat)
            raise NotFoundError(
                f"no table {name!r}: it is not registered under tables/{name}, and gs://{self._bucket}/{name}.<format> does "
                f"not exist for any format ({endings}); upload the file, register the table, or send rows",
                code="table_not_found",
            )
        if len(found) > 1:
            names = ", ".join(str(source.uri) for source in found)
            raise InvalidRequestError(
                f"several files are called {name!r}: {names}; name one in source.uri", field="source"
            )
        return found[0]
