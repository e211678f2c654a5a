"""Applying a whole configuration: compare it with what there is, say what differs, and do it, item by item.

Connectors come first, then tables, then schedules; what is pruned goes in the opposite order. Nothing is done while any item is
wrong in a way that shows before it is tried. After that each item stands alone: one that fails stops no other, and the same
configuration again does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import msgspec

from shared import audit
from shared.errors import BIConnectorsError, ConflictError, InvalidRequestError, not_of_the_form
from shared.models import (
    Action,
    Applied,
    AppliedItem,
    Configuration,
    ErrorInfo,
    ItemOutcome,
    ScheduleRequest,
    Table,
    TableBody,
)
from shared.ports import Document, Query, Stores, Transaction
from shared.services.connector_bodies import split_secrets
from shared.services.connectors import Connectors
from shared.services.records import find, from_record
from shared.services.schedules import Schedules
from shared.services.tables import Tables

Do = Callable[[], object]
Registration = Callable[[Mapping[str, Any]], Any]
"""Turns an item into the body of `register`; raises `msgspec.ValidationError`."""


@dataclass(frozen=True)
class _Step:
    """One item of the plan, and what does it."""

    kind: str
    name: str
    action: Action | None
    do: Do | None = None
    changes: tuple[str, ...] = ()
    error: BIConnectorsError | None = None

    def shown(self, outcome: ItemOutcome, error: BIConnectorsError | None = None) -> AppliedItem:
        info = None if error is None else ErrorInfo(code=error.code, message=error.message, retryable=error.retryable)
        return AppliedItem(
            kind=self.kind, name=self.name, action=self.action, outcome=outcome, changes=list(self.changes), error=info
        )


class Configurations:
    """The use case of `apply`."""

    def __init__(self, stores: Stores, connectors: Connectors, tables: Tables, schedules: Schedules) -> None:
        self._stores = stores
        self._connectors = connectors
        self._tables = tables
        self._schedules = schedules

    def apply(
        self, wanted: Configuration, caller: str, registration: Registration, *, dry_run: bool, prune: bool
    ) -> Applied:
        """Make the configuration true, or with `dry_run` only say what that would take. With `prune` delete what it lacks."""
        steps = [
            *self._plan("connector", wanted.connectors, lambda name, item: self._connector(name, registration(item))),
            *self._plan("table", wanted.tables, self._table),
            *self._plan("schedule", wanted.schedules, lambda name, item: self._schedule(name, item, caller)),
        ]
        if prune:
            steps += self._pruned(wanted)
        if dry_run:
            items = [
                step.shown(ItemOutcome.FAILED if step.error else ItemOutcome.PLANNED, step.error) for step in steps
            ]
        elif any(step.error for step in steps):
            items = [
                step.shown(ItemOutcome.FAILED if step.error else ItemOutcome.SKIPPED, step.error) for step in steps
            ]
        else:
            items = [_done(step) for step in steps]
        return Applied(ok=all(item.outcome is not ItemOutcome.FAILED for item in items), dry_run=dry_run, items=items)

    def _plan(
        self, kind: str, items: Sequence[Mapping[str, Any]] | None, plan: Callable[[str, Mapping[str, Any]], _Step]
    ) -> Iterable[_Step]:
        seen: set[str] = set()
        for number, item in enumerate(items or ()):
            name = str(item.get("name") or f"{kind} {number + 1}")
            try:
                if not isinstance(item.get("name"), str) or not item["name"]:
                    raise InvalidRequestError(f"{name} has no name", field=f"{kind}s[{number}].name")
                if name in seen:
                    raise InvalidRequestError(f"{kind} {name!r} is there twice", field=f"{kind}s[{number}].name")
                seen.add(name)
                yield plan(name, item)
            except msgspec.ValidationError as exc:
                yield _Step(kind, name, None, error=not_of_the_form(exc, f"{kind} {name!r}"))
            except BIConnectorsError as error:
                yield _Step(kind, name, None, error=error)

    def _connector(self, name: str, body: Any) -> _Step:
        config, secrets = split_secrets(body)
        reference = body.credentials_secret
        if secrets or not reference:
            raise InvalidRequestError(
                f"connector {name!r}: a configuration names credentials only by credentials_secret, a Secret Manager version",
                field="credentials_secret",
            )
        found = self._stores.documents.get(f"connectors/{name}")
        if found is None:
            return _Step("connector", name, Action.CREATE, lambda: self._connectors.register(name, body, reference))
        if found.data["connector_type"] != config["connector_type"]:
            raise ConflictError(f"connector {name!r} is of the type {found.data['connector_type']}; delete it first")
        before = {**found.data["config"], "credentials_secret": found.data["credentials"]}
        changes = _differences(before, {**config, "credentials_secret": reference})
        step = _Step("connector", name, Action.CHANGE, changes=changes)
        return _unless_same(step, lambda: self._connectors.put(name, config, reference, found.version))

    def _table(self, name: str, item: Mapping[str, Any]) -> _Step:
        body = msgspec.convert(_without_name(item), TableBody)
        self._tables.check(name, body)
        found = find(self._stores.documents, "tables", name)
        if found is None:
            return _Step("table", name, Action.CREATE, lambda: self._tables.put(name, body))
        present = from_record(Table, found.data)
        before = {part: getattr(present, part) for part in TableBody.__struct_fields__}
        changes = _differences(before, msgspec.structs.asdict(body))
        step = _Step("table", name, Action.CHANGE, changes=changes)
        return _unless_same(step, lambda: self._tables.put(name, body, found.version))

    def _schedule(self, name: str, item: Mapping[str, Any], caller: str) -> _Step:
        request = msgspec.convert(_without_name(item), ScheduleRequest)

        def create() -> Document:
            made = self._schedules.create(request, caller)
            self._adopt(made, name)
            return made

        found = self._applied(name, request)
        if found is None or find(self._stores.documents, "connectors", request.connector_name) is None:
            return _Step("schedule", name, Action.CREATE, create)
        request = self._schedules.checked(request, found.data["id"])
        changes = _differences(msgspec.structs.asdict(_as_request(found)), msgspec.structs.asdict(request))
        if not changes and found.data.get("applied_as") is None:
            return _Step("schedule", name, Action.UNCHANGED, lambda: self._adopt(found, name))

        step = _Step("schedule", name, Action.CHANGE, changes=changes)
        return _unless_same(step, lambda: self._schedules.replace(found.data["id"], request))

    def _applied(self, name: str, request: ScheduleRequest) -> Document | None:
        """Return the schedule of this name; else one without a name that is just so, as a crash may have left it."""
        named = self._stores.documents.query(Query("schedules", (("applied_as", "==", name),)))
        if left := [one for one in named if not one.data["deleting"]]:
            return left[0]
        of_connector = Query("schedules", (("connector_name", "==", request.connector_name),))
        found = [
            one
            for one in self._stores.documents.query(of_connector)
            if "applied_as" not in one.data and not one.data["deleting"]
        ]
        same = (one for one in found if _as_request(one) == self._schedules.checked(request, one.data["id"]))
        return next(same, None)

    def _adopt(self, found: Document, name: str) -> None:
        """Give a schedule the name that it has in the configuration: from then on `apply` changes it, and prunes it."""
        now = self._stores.clock.now()

        def work(tx: Transaction) -> None:
            tx.update(found.path, {"applied_as": name})
            former = {"applied_as": found.data.get("applied_as")}
            audit.record(tx, now, "schedule.adopt", found.path, before=former, after={"applied_as": name})

        self._stores.documents.transact(work)

    def _pruned(self, wanted: Configuration) -> list[_Step]:
        """Return the deletions of what the configuration's sections lack; schedules that nobody applied are people's own."""

        documents = self._stores.documents
        schedules = {
            one.data["applied_as"]: one.data["id"]
            for one in documents.query(Query("schedules"))
            if one.data.get("applied_as") and not one.data["deleting"]
        }
        tables = [one.data["name"] for one in documents.query(Query("tables"))]
        connectors = [one.data["name"] for one in documents.query(Query("connectors"))]
        return [
            *_lacking("schedule", wanted.schedules, schedules, lambda name: self._schedules.delete(schedules[name])),
            *_lacking("table", wanted.tables, tables, self._tables.delete),
            *_lacking(
                "connector",
                wanted.connectors,
                connectors,
                lambda name: self._connectors.delete(name, force=False, version=None),
            ),
        ]


def _lacking(
    kind: str, items: Sequence[Mapping[str, Any]] | None, found: Iterable[str], delete: Callable[[str], object]
) -> list[_Step]:
    """Return the deletions of what a section lacks; none if the configuration has no such section."""
    if items is None:
        return []
    kept = {str(item.get("name")) for item in items}
    return [_Step(kind, name, Action.DELETE, partial(delete, name)) for name in found if name not in kept]


def _done(step: _Step) -> AppliedItem:
    try:
        if step.do is not None:
            step.do()
    except BIConnectorsError as error:
        return step.shown(ItemOutcome.FAILED, error)
    return step.shown(ItemOutcome.DONE)


def _unless_same(step: _Step, do: Do) -> _Step:
    if not step.changes:
        return replace(step, action=Action.UNCHANGED)
    return replace(step, do=do)


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(name for name in sorted({*before, *after}) if before.get(name) != after.get(name))


def _without_name(item: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key != "name"}


def _as_request(found: Document) -> ScheduleRequest:
    fields = {name: found.data[name] for name in ScheduleRequest.__struct_fields__ if name in found.data}
    return msgspec.convert(fields, ScheduleRequest, strict=False)
