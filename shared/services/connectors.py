"""Connectors: register, list, get, change, delete, test. Credentials go to Secret Manager before anything else is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from shared import audit
from shared import connectors as kinds
from shared.connectors._base import Runtime
from shared.errors import (
    BIConnectorsError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    UnsupportedError,
    not_of_the_form,
)
from shared.models import RESERVED_NAMES, CheckResult, Connector, ConnectorPage, TestAllResult, TestResult
from shared.pipeline.lease import target_key
from shared.ports import Document, Query, Stores, Transaction
from shared.redaction import remember
from shared.services.connector_bodies import (
    check_reference,
    decode_secrets,
    describe_capabilities,
    encode_secrets,
    merge_patch,
    split_secrets,
    stored_config,
)
from shared.services.credentials import delete_unless_named, former_credentials
from shared.services.publish_holds import PublishHolds, refuse_held, refuse_while_used, still_held
from shared.services.records import (
    Idempotency,
    Page,
    earlier_result,
    from_record,
    keep_result,
    list_page,
    require,
    to_record,
)
from shared.services.refresh_quota import room_for_connector

TESTS_AT_ONCE = 8  # our choice: connection tests wait on the network; more threads would not fit one vCPU's memory


class Connectors:
    """The use cases around `connectors/{name}`. `load` builds a live connector from config and secrets."""

    def __init__(self, stores: Stores, prefix: str, runtime: Runtime, load: Callable[..., Any] = kinds.load) -> None:
        self._stores = stores
        self._prefix = prefix
        self._runtime = runtime
        self._load = load
        self._holds = PublishHolds(stores)

    def register(
        self, name: str, body: msgspec.Struct, credentials_secret: str | None, idempotency: Idempotency | None = None
    ) -> tuple[Document, bool]:
        """Store a connector. Returns its document and whether it is new; the same name and body again is not new.

        Raises:
            InvalidRequestError: the name is a word of the API's paths, or credentials are missing.
            ConflictError: the name is taken by another configuration or other credentials.
            IdempotencyError: the key was used with another body; secrets do not count, the name's check sees to those.
        """
        if name in RESERVED_NAMES:
            raise InvalidRequestError(f"{name!r} is a word of this API's paths; choose another name", field="name")
        config, secrets = split_secrets(body)
        now = self._stores.clock.now()
        if idempotency:
            self._stores.documents.transact(lambda tx: earlier_result(tx, idempotency, now))
        existing = self._stores.documents.get(f"connectors/{name}")
        if existing is not None:
            return self._same_or_conflict(existing, config, secrets, credentials_secret), False
        version, is_ours = self._keep_credentials(name, config, secrets, credentials_secret)
        connector = Connector(
            name=name,
            connector_type=config["connector_type"],
            config=config,
            capabilities=describe_capabilities(config["connector_type"]),
            credentials=version,
            created_at=now,
            updated_at=now,
        )

        def work(tx: Transaction) -> None:
            tx.create(f"connectors/{name}", to_record(connector, owns_credentials=is_ours))
            keep_result(tx, idempotency, name, now)
            audit.record(tx, now, "connector.register", f"connectors/{name}", after=_identity(config, version))

        try:
            self._stores.documents.transact(work)
        except ConflictError:
            if is_ours:
                self._stores.secrets.destroy(version)
            winner = require(self._stores.documents, f"connectors/{name}", f"connector {name!r}")
            return self._same_or_conflict(winner, config, secrets, credentials_secret), False
        return require(self._stores.documents, f"connectors/{name}", f"connector {name!r}"), True

    def get(self, name: str) -> Document:
        """Return the connector's document. Raises `NotFoundError`."""
        return require(self._stores.documents, f"connectors/{name}", f"connector {name!r}")

    def list(self, page: Page) -> ConnectorPage:
        found, token = list_page(self._stores.documents, Query("connectors"), page)
        return ConnectorPage(connectors=[from_record(Connector, item.data) for item in found], next_page_token=token)

    def change(self, name: str, changes: Mapping[str, Any], version: str) -> Document:
        """Change configuration or credentials of one connector; `version` is the one that the caller read.

        Raises:
            PreconditionFailedError: it changed since.
            InvalidRequestError: the outcome would not be a valid configuration of its kind.
        """
        present = self.get(name)
        merged = merge_patch(present.data["config"], changes)
        merged["connector_type"] = present.data["connector_type"]
        declared = kinds.DECLARATIONS[merged["connector_type"]]
        try:
            config, secrets = split_secrets(msgspec.convert(merged, declared.Config))
        except msgspec.ValidationError as exc:
            raise not_of_the_form(exc, "the changed configuration is not valid") from exc
        now = self._stores.clock.now()
        fields: dict[str, Any] = {"config": config, "updated_at": now}
        if secrets:
            stored = self._read_secrets(present)
            fields["credentials"] = self._add_version(name, {**stored, **secrets})
            fields["owns_credentials"] = True
        try:
            self._store_change(present, fields, version, now)
        except BIConnectorsError:
            if "credentials" in fields:
                self._stores.secrets.destroy(fields["credentials"])
            raise
        return self.get(name)

    def put(self, name: str, config: Mapping[str, Any], reference: str, version: str) -> Document:
        """Replace configuration and credentials (a Secret Manager version) of a connector, kind and owned targets kept.

        Raises:
            PreconditionFailedError: it changed since `version`.
            CredentialError, InvalidRequestError: the version is not there, or lacks a credential.
        """
        present, now = self.get(name), self._stores.clock.now()
        self._keep_credentials(name, config, {}, reference)
        is_ours = bool(present.data.get("owns_credentials")) and present.data["credentials"] == reference
        fields = {"config": dict(config), "credentials": reference, "owns_credentials": is_ours, "updated_at": now}
        self._store_change(present, fields, version, now)
        return self.get(name)

    def delete(self, name: str, *, force: bool, version: str | None) -> None:
        """Delete a connector and the credentials that we made for it.

        Raises:
            ConflictError: jobs run on it or schedules point at it, and `force` is not set; or (code `job_publishing`) a job publishes
                through it.
        """
        present = self.get(name)
        if not force:
            refuse_while_used(self._stores.documents, name)
        now = self._stores.clock.now()

        def work(tx: Transaction, hold: str) -> None:
            before = still_held(tx, name, hold)
            tx.delete(f"connectors/{name}")
            former = _identity(before["config"], before["credentials"])
            audit.record(tx, now, "connector.delete", f"connectors/{name}", before=former)

        with self._holds.held(name, version, lambda _: True) as hold:
            self._stores.documents.transact(partial(work, hold=hold))
        if present.data.get("owns_credentials"):
            delete_unless_named(self._stores, self._secret_id(name))

    def test(self, name: str) -> TestResult:
        """Run the kind's named checks; a failed check is part of the result, not an error."""
        document = self.get(name)
        started = time.monotonic()
        try:
            checks = [CheckResult(**asdict(check)) for check in self.open(document).test()]
        except BIConnectorsError as error:
            checks = [CheckResult(name="credentials", ok=False, latency_ms=0.0, message=error.message)]
        result = TestResult(
            connector_name=name,
            ok=all(check.ok for check in checks),
            checks=checks,
            latency_ms=round((time.monotonic() - started) * 1000, 1),
            tested_at=self._stores.clock.now(),
        )

        def work(tx: Transaction) -> None:
            tx.update(f"connectors/{name}", {"last_test": to_record(result)})
            outcome = "success" if result.ok else "failed"
            audit.record(tx, result.tested_at, "connector.test", f"connectors/{name}", outcome=outcome)

        try:
            self._stores.documents.transact(work)
        except NotFoundError:
            pass  # deleted while it was tested: the result is still what the caller asked for
        return result

    def test_all(self) -> TestAllResult:
        """Test every connector, side by side in time."""
        names = [item.data["name"] for item in self._stores.documents.query(Query("connectors"))]
        present = [copy_context() for _ in names]  # who asks, for the audit, and in which request
        with ThreadPoolExecutor(TESTS_AT_ONCE) as pool:
            results = list(pool.map(lambda context, name: context.run(self._test_or_gone, name), present, names))
        return TestAllResult(ok=all(result.ok for result in results), results=results)

    def _test_or_gone(self, name: str) -> TestResult:
        """Test a connector that was there a moment ago; its deletion since must not take away the results of the others."""
        try:
            return self.test(name)
        except NotFoundError:
            gone = CheckResult(
                name="connector", ok=False, latency_ms=0.0, message="it was deleted before its turn came"
            )
            return TestResult(
                connector_name=name, ok=False, checks=[gone], latency_ms=0.0, tested_at=self._stores.clock.now()
            )

    def open(self, document: Document) -> Any:
        """Return the live connector of a document, guarded. Raises as `stored_config`; `CredentialError` if its credentials are gone."""
        connector = self._load(stored_config(document.data), self._read_secrets(document), self._runtime)
        return self._runtime.guard(document.data["name"], connector)

    def open_for(self, job: Mapping[str, Any]) -> Any:
        """Return the live connector that a job goes through, as `open`.

        Raises:
            ConflictError: code `connector_changed`, it leads to another target now than when the job was accepted.
        """
        document = self.get(job["connector_name"])
        self._require_target(document, job)
        return self.open(document)

    def confirm_target(self, connector: Document | None, job: Mapping[str, Any]) -> None:
        """Allow a job to begin to publish through a connector as it is now, which may not be as it was opened.

        Raises:
            NotFoundError: it was deleted.
            ConflictError: code `connector_changed`, it leads to another target now.
            VendorUnavailableError: code `connector_changing`, somebody is changing it.
        """
        if connector is None:
            raise NotFoundError(f"connector {job['connector_name']!r} was deleted while a job ran on it")
        refuse_held(connector, self._stores.clock)
        self._require_target(connector, job)

    def target_key(self, document: Document, table_name: str, options: Mapping[str, Any]) -> str:
        """Return the id of the physical target of an export through this connector; see `pipeline.lease.target_key`."""
        return target_key(kinds.place_of(document.data["config"], table_name, options))

    def can_refresh(self, document: Document) -> bool:
        """Whether this connector, as it is configured, has something to refresh."""
        return self.refresh_key(document, {}) is not None

    def refresh_key(self, document: Document, options: Mapping[str, Any]) -> str | None:
        """Return the id of what a refresh computes anew, the same through whatever connector; None if there is nothing to refresh."""
        refreshed = kinds.refreshed_of(document.data["config"], options)
        return target_key(refreshed) if refreshed else None

    def refreshes_a_day(self, document: Document) -> int | None:
        """Return how many refreshes the vendor allows this connector in 24 hours, None where it sets no number."""
        allowed: int | None = kinds.DECLARATIONS[document.data["connector_type"]].refreshes_a_day(
            document.data["config"]
        )
        return allowed

    def check_options(self, document: Document, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return refresh options as stored. Raises `InvalidRequestError` if they are not of the form that the kind takes."""
        kind = document.data["connector_type"]
        try:
            checked = msgspec.to_builtins(msgspec.convert(dict(options), kinds.DECLARATIONS[kind].RefreshOptions))
        except msgspec.ValidationError as exc:
            raise not_of_the_form(exc, f"options are not of the form that {kind} takes", "options") from exc
        return {key: value for key, value in checked.items() if value is not None}

    def require_refresh(self, document: Document) -> None:
        """Raise `UnsupportedError` if this connector has nothing to refresh."""
        kind = document.data["connector_type"]
        if not kinds.capabilities(kind).refresh:
            raise UnsupportedError(
                f"{kind} has nothing to refresh: what is published is live; use a schedule with the action "
                "export_and_refresh to bring new rows in on a cron",
                code="refresh_unsupported",
            )
        if not self.can_refresh(document):
            raise UnsupportedError(
                f"connector {document.data['name']!r} names nothing to refresh: set refresh_dataset_id (Power BI), or "
                "datagroup_id, or model and view (Looker), on it",
                code="refresh_unsupported",
            )

    def target_of(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Return what an earlier delivery to the job's target wanted to know next time; empty the first time.

        It is the target's, not the connector's: another connector may lead there, too. Release 0.1.0 kept it with the connector.
        """
        found = self._stores.documents.get(f"targets/{job['target_key']}")
        if found and found.data.get("remembered"):
            return dict(found.data["remembered"])
        return dict(self.get(job["connector_name"]).data.get("targets", {}).get(job["table_name"]) or {})

    def _require_target(self, connector: Document, job: Mapping[str, Any]) -> None:
        if self.target_key(connector, job["table_name"], job["target"]) != job["target_key"]:
            raise ConflictError(
                f"connector {job['connector_name']!r} leads to another target now than when the job was accepted; export again",
                code="connector_changed",
            )

    def _store_change(self, present: Document, fields: Mapping[str, Any], version: str, now: datetime) -> None:
        """Store another configuration, unless a job that publishes would lose its target by it, or schedules come to ask too much."""
        name, config = present.data["name"], fields["config"]
        room_for_connector(self._stores.documents, name, present.data["config"], config, now)

        def moves(job: Mapping[str, Any]) -> bool:
            return bool(target_key(kinds.place_of(config, job["table_name"], job["target"])) != job["target_key"])

        def work(tx: Transaction, hold: str) -> None:
            before = still_held(tx, name, hold)
            credentials = fields.get("credentials", before["credentials"])
            former_ones = former_credentials(before, credentials, now)
            tx.update(f"connectors/{name}", {**fields, "former_credentials": former_ones})
            after = _identity(config, credentials)
            former = _identity(before["config"], before["credentials"])
            audit.record(tx, now, "connector.change", f"connectors/{name}", before=former, after=after)

        with self._holds.held(name, version, moves) as hold:
            self._stores.documents.transact(partial(work, hold=hold))

    def _same_or_conflict(
        self, existing: Document, config: dict[str, Any], secrets: dict[str, Any], reference: str | None
    ) -> Document:
        same = existing.data["config"] == config
        if same and reference:
            same = existing.data["credentials"] == reference
        elif same:
            same = self._read_secrets(existing) == secrets
        if not same:
            raise ConflictError(
                f"connector {existing.data['name']!r} exists with another configuration or other credentials; "
                "change it with PATCH, or delete it first",
                code="name_taken",
            )
        return existing

    def _keep_credentials(
        self, name: str, config: Mapping[str, Any], secrets: Mapping[str, Any], reference: str | None
    ) -> tuple[str, bool]:
        wanted = set(kinds.DECLARATIONS[config["connector_type"]].SECRET_FIELDS)
        if reference:
            if secrets:
                raise InvalidRequestError(
                    "send either credentials or credentials_secret, not both", field="credentials_secret"
                )
            check_reference(reference)
            secrets = decode_secrets(self._stores.secrets.read(reference), reference)
        missing = sorted(wanted - set(secrets))
        if missing:
            raise InvalidRequestError(
                f"credentials are missing: {', '.join(missing)}; send them in the body, or name a Secret Manager version "
                "that holds them as a JSON object in credentials_secret",
                field=missing[0],
            )
        return (reference, False) if reference else (self._add_version(name, secrets), True)

    def _add_version(self, name: str, secrets: Mapping[str, Any]) -> str:
        remember(dict(secrets))
        return self._stores.secrets.add(self._secret_id(name), encode_secrets(secrets))

    def _read_secrets(self, document: Document) -> dict[str, Any]:
        reference = document.data["credentials"]
        secrets = decode_secrets(self._stores.secrets.read(reference), reference)
        remember(secrets)
        return secrets

    def _secret_id(self, name: str) -> str:
        return f"{self._prefix}-connector-{name}"


def _identity(config: Mapping[str, Any], credentials: str) -> dict[str, Any]:
    """Return what a connector is, for the audit log: its configuration and the name of its credentials' version."""
    return {"config": config, "credentials": credentials}
