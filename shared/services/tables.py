"""Registered tables, and what `table_name` stands for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from shared import audit
from shared import connectors as kinds
from shared.errors import InvalidRequestError, NotFoundError, PreconditionFailedError, not_of_the_form
from shared.models import ExportFormat, ExportRequest, Mode, Source, Table, TableBody, TableDefaults, TablePage
from shared.pipeline.preparing.checks import check_rules
from shared.ports import Document, Query, Stores
from shared.redaction import hinted
from shared.services.records import Page, find, from_record, list_page, require, to_record
from shared.services.sources import Sources

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _-]{0,99}")
DEFAULT_MAX_SHRINK = 0.5
_TEXT = (ExportFormat.CSV, ExportFormat.JSON, ExportFormat.JSONL)
ENDINGS = {fmt.value: fmt for fmt in ExportFormat} | {
    f"{fmt.value}.{packing}": fmt for fmt in _TEXT for packing in ("gz", "zst")
}
"""How a table's file may end, by its format; text may be compressed."""
MOST_LISTED = 1_000  # one page of Cloud Storage


@dataclass(frozen=True)
class Choices:
    """What one export does: each the request's, else the table's default, else ours."""

    mode: Mode
    key: list[str]
    export_format: ExportFormat | None
    max_shrink: float
    target: Mapping[str, Any]


class Tables:
    """The use cases around `tables/{name}`."""

    def __init__(self, stores: Stores, tables_bucket: str, sources: Sources) -> None:
        self._stores = stores
        self._bucket = tables_bucket
        self._sources = sources

    def put(self, name: str, body: TableBody, version: str | None = None) -> tuple[Document, bool]:
        """Create or replace; returns the document and whether it is new.

        Raises:
            InvalidRequestError: the name, the source, a rule or a default is not of the documented form.
            PreconditionFailedError: the table is not the one of `version` any more.
        """
        self.check(name, body)
        table = Table(
            name=name,
            source=body.source,
            description=body.description,
            mapping=body.mapping,
            contract=body.contract,
            max_rejects=body.max_rejects,
            defaults=body.defaults,
            updated_at=self._stores.clock.now(),
        )

        def work(tx: Any) -> bool:
            before, after = tx.get(f"tables/{name}"), to_record(table)
            _require_version(before, version, name)
            tx.set(f"tables/{name}", after)
            audit.record(
                tx, table.updated_at, "table.put", f"tables/{name}", before=before.data if before else None, after=after
            )
            return before is None

        is_new = self._stores.documents.transact(work)
        return self.get(name), is_new

    def check(self, name: str, body: TableBody) -> None:
        """Raise `InvalidRequestError` or `ForbiddenError` unless the table could be registered."""
        if not NAME.fullmatch(name):
            raise InvalidRequestError(
                f"{name!r} is not a table name; expected 1 to 100 letters, digits, spaces, `_` and `-`", field="name"
            )
        self._sources.check(body.source)
        self._sources.check_sql(body.source, body.mapping)
        check_rules(body.mapping, body.contract)
        defaults = body.defaults
        if defaults.key and defaults.mode is not Mode.UPSERT:
            raise InvalidRequestError("defaults.key belongs to the mode upsert", field="defaults.key")
        for kind, options in defaults.target.items():
            if kind not in kinds.DECLARATIONS:
                known = ", ".join(kinds.DECLARATIONS)
                raise InvalidRequestError(
                    f"{hinted(kind)!r} is no connector type; expected {known}", field="defaults.target"
                )
            try:
                msgspec.convert(options, kinds.DECLARATIONS[kind].TargetOptions)
            except msgspec.ValidationError as exc:
                raise not_of_the_form(exc, f"not of the form that {kind} takes", f"defaults.target.{kind}") from exc

    def get(self, name: str) -> Document:
        return require(self._stores.documents, f"tables/{name}", f"table {name!r}")

    def list(self, page: Page) -> TablePage:
        found, token = list_page(self._stores.documents, Query("tables"), page)
        return TablePage(tables=[from_record(Table, item.data) for item in found], next_page_token=token)

    def delete(self, name: str, version: str | None = None) -> None:
        """Forget a table. Raises `PreconditionFailedError` if it is not the one of `version` any more."""
        before, now = self.get(name), self._stores.clock.now()

        def work(tx: Any) -> None:
            _require_version(tx.get(f"tables/{name}"), version, name)
            tx.delete(f"tables/{name}")
            audit.record(tx, now, "table.delete", f"tables/{name}", before=before.data)

        self._stores.documents.transact(work)

    def registered(self, name: str) -> Table | None:
        """Return the table of this name, None if it is not registered."""
        return table_of(find(self._stores.documents, "tables", name))

    def find_file(self, name: str) -> Source:
        """Return the one file of a table's name in the tables bucket, for a table that is not registered. One call, as a rule.

        Raises:
            NotFoundError: there is none; the message says where it was looked for.
            InvalidRequestError: several files fit.
        """
        wanted = {f"{name}.{ending}": fmt for ending, fmt in ENDINGS.items()}
        listed = self._stores.objects.list_prefix(self._bucket, f"{name}.", MOST_LISTED)
        if len(listed) == MOST_LISTED:  # the wanted ones may come later
            listed = [info for file in wanted if (info := self._stores.objects.stat(self._bucket, file))]
        found = [Source(uri=info.uri, format=wanted[info.name]) for info in listed if info.name in wanted]
        if not found:
            raise NotFoundError(
                f"no table {name!r}: it is not registered under tables/{name}, and gs://{self._bucket}/{name}.<format> does "
                f"not exist for any format ({', '.join(ENDINGS)}); upload the file, register the table, or send rows",
                code="table_not_found",
            )
        if len(found) > 1:
            names = ", ".join(str(source.uri) for source in found)
            raise InvalidRequestError(
                f"several files are called {name!r}: {names}; name one in source.uri", field="source"
            )
        return found[0]


def _require_version(found: Document | None, version: str | None, name: str) -> None:
    if version is not None and (found is None or found.version != version):
        raise PreconditionFailedError(f"table {name!r} changed since you read it; read it again")


def table_of(found: Document | None) -> Table | None:
    """Return the registered table that a document holds, None without one."""
    return None if found is None else from_record(Table, found.data)


def choices(request: ExportRequest, table: Table | None, kind: str) -> Choices:
    """Return what an export does through a connector of this kind; `table` is the registered one of its name."""
    defaults = table.defaults if table else TableDefaults()
    mode = request.mode or defaults.mode or Mode.REPLACE
    shrink = request.max_shrink if request.max_shrink is not None else defaults.max_shrink
    return Choices(
        mode=mode,
        key=request.key or (defaults.key if mode is Mode.UPSERT else []),
        export_format=request.export_format or defaults.export_format,
        max_shrink=DEFAULT_MAX_SHRINK if shrink is None else shrink,
        target={**defaults.target.get(kind, {}), **request.target},
    )


def target_options(chosen: Choices, kind: str) -> dict[str, Any]:
    """Return the options of an export's target as jobs keep them. Raises `InvalidRequestError` if the kind takes no such ones."""
    try:
        options = msgspec.convert(dict(chosen.target), kinds.DECLARATIONS[kind].TargetOptions)
    except msgspec.ValidationError as exc:
        raise not_of_the_form(exc, f"target is not of the form that {kind} takes", "target") from exc
    checked: dict[str, Any] = msgspec.to_builtins(options)
    return {key: value for key, value in checked.items() if value is not None}
