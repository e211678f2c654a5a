"""Composition root: settings, then adapters, then services, once per instance. The only module that wires.

Google's client libraries cost half a second of cold start each, so an adapter's module is imported when the adapter is first
used; `/health` and listing connectors pay for none but Firestore's.
"""

from __future__ import annotations

import importlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, cast

from shared.config import Settings, read_settings
from shared.ports import Clock, Resolver, Stores
from shared.stores.clock import SystemClock
from shared.telemetry import export_spans_to

if TYPE_CHECKING:
    from shared.connectors._quota import Quota
    from shared.services.audit import Audit
    from shared.services.channels import Channels
    from shared.services.configuration import Configurations
    from shared.services.connectors import Connectors
    from shared.services.credentials import Credentials
    from shared.services.exports import Exports
    from shared.services.freshness import Freshnesses
    from shared.services.lineage import Lineage
    from shared.services.notice_deliveries import NoticeDeliveries
    from shared.services.occurrences import Occurrences
    from shared.services.quotas import Quotas
    from shared.services.readiness import Readiness
    from shared.services.reconciler import Reconciler
    from shared.services.refreshes import Refreshes
    from shared.services.repairs import Engine, Outcome
    from shared.services.schedules import Schedules
    from shared.services.sources import Sources
    from shared.services.sweeper import Sweeper
    from shared.services.tables import Tables


NOTICE_ANSWER_S = 15.0  # our choice: who takes notices answers at once and works on them afterwards


class _OnFirstUse:
    """Stands for an adapter until one of its methods is asked for, then imports and builds it."""

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build

    @cached_property
    def _adapter(self) -> Any:
        return self._build()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)


class _Returning:
    """An engine that gives the rest of its quota back after each time box, instead of keeping it until it ends by itself."""

    def __init__(self, engine: Engine, quota: Quota) -> None:
        self._engine = engine
        self._quota = quota

    def run(self, job_id: str) -> Outcome:
        try:
            return self._engine.run(job_id)
        finally:
            self._quota.give_back()

    def differences_now(self, job: Mapping[str, Any]) -> list[str]:
        try:
            return self._engine.differences_now(job)
        finally:
            self._quota.give_back()


class _GoogleStores:
    """What `Stores` holds, one property an adapter: a function's package carries only the adapters that its code names."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def documents(self) -> Any:
        s = self._settings
        return _on_first_use("shared.stores.firestore:FirestoreDocuments", s.project, s.database)

    @cached_property
    def secrets(self) -> Any:
        s = self._settings
        return _on_first_use("shared.stores.secret_manager:SecretManagerSecrets", s.project, s.secret_manager_emulator)

    @cached_property
    def tasks(self) -> Any:
        s = self._settings
        caller, emulator = s.tasks_service_account, s.cloud_tasks_emulator
        return _on_first_use("shared.stores.cloud_tasks:CloudTasks", s.project, s.location, caller, emulator)

    @cached_property
    def cron_jobs(self) -> Any:
        s = self._settings
        place, caller, emulator = (s.project, s.location), s.scheduler_service_account, s.cloud_scheduler_emulator
        return _on_first_use("shared.stores.cloud_scheduler:CloudScheduler", *place, s.prefix, caller, emulator)

    @cached_property
    def objects(self) -> Any:
        return _on_first_use("shared.stores.cloud_storage:as_itself", self._settings.project)

    @cached_property
    def warehouse(self) -> Any:
        s = self._settings
        return _on_first_use("shared.stores.bigquery:BigQueryWarehouse", s.project, s.bigquery_emulator)

    @cached_property
    def collections(self) -> Any:
        return _on_first_use("shared.stores.firestore_source:FirestoreCollections")

    @cached_property
    def clock(self) -> Clock:
        return SystemClock()


def _on_first_use(reference: str, *arguments: Any) -> Any:
    module, _, name = reference.partition(":")
    return _OnFirstUse(lambda: getattr(importlib.import_module(module), name)(*arguments))


def google_stores(settings: Settings) -> Stores:
    """Return the adapters on Google Cloud, or on the emulators that the settings name."""
    return cast("Stores", _GoogleStores(settings))  # the same members, each made when it is asked for


@dataclass(frozen=True)
class Services:
    """The use cases of one instance, each built on first use."""

    settings: Settings
    stores: Stores

    @property
    def clock(self) -> Clock:
        return self.stores.clock

    @cached_property
    def resolver(self) -> Resolver:
        """Who says what addresses a host name has; every URL that a user can set goes through it."""
        from shared.stores.resolver import SystemResolver, TableResolver

        table = self.settings.resolver_table
        return SystemResolver() if table is None else TableResolver(table)

    @cached_property
    def quotas(self) -> Quotas:
        from shared.services.quotas import Quotas

        return Quotas(self.stores.documents, self.clock, holder=uuid.uuid4().hex)

    @cached_property
    def connectors(self) -> Connectors:
        from shared.connectors._base import Runtime
        from shared.connectors._outgoing import Outgoing
        from shared.services.breakers import Breakers
        from shared.services.connectors import Connectors

        guard = Breakers(self.stores.documents, self.clock).guard
        looker = Outgoing(self.resolver, self.settings.looker_hosts, "LOOKER_HOSTS")
        runtime = Runtime(self.clock, self.settings.warehouse_hosts, self.quotas, guard, looker)
        return Connectors(self.stores, self.settings.prefix, runtime)

    @cached_property
    def lineage(self) -> Lineage:
        from shared.services.lineage import Lineage

        return Lineage(self.stores.documents, f"bi-connectors://{self.settings.project}/{self.settings.prefix}")

    @cached_property
    def sources(self) -> Sources:
        from shared.services.sources import Sources, SourceSettings

        s = self.settings
        limits = SourceSettings(s.project, s.database, s.frozen_bucket, s.bigquery_queries, s.bigquery_max_bytes_billed)
        return Sources(self.stores.objects, limits)

    @cached_property
    def tables(self) -> Tables:
        from shared.services.tables import Tables

        return Tables(self.stores, self.settings.tables_bucket, self.sources)

    @cached_property
    def exports(self) -> Exports:
        from shared.services.exports import Exports, ExportSettings
        from shared.services.refreshes import after_export

        settings = ExportSettings(
            self.settings.urls["export_worker"],
            self.settings.export_queue,
            self.settings.frozen_bucket,
            self.settings.threads,
            self.settings.longest_wait_s,
            self.settings.urls["export"],
        )

        def refresh(job: Mapping[str, Any]) -> str:
            return after_export(self.refreshes, job)

        adapters = (self.stores, self.connectors, self.tables, self.sources)
        return Exports(*adapters, settings, self._engine, refresh, self.lineage)

    @cached_property
    def refreshes(self) -> Refreshes:
        from shared.services.refresh_following import RefreshSettings
        from shared.services.refreshes import Refreshes

        settings = RefreshSettings(self.settings.urls["refresh"], self.settings.refresh_queue)
        return Refreshes(self.stores, self.connectors, settings)

    @cached_property
    def schedules(self) -> Schedules:
        from shared.services.schedules import Schedules

        refresh_url = self.settings.urls["refresh"]
        return Schedules(self.stores, self.connectors, refresh_url, self.occurrences.run_due)

    @cached_property
    def occurrences(self) -> Occurrences:
        from shared.services.notices import announce_health
        from shared.services.occurrences import Occurrences

        return Occurrences(self.stores, self.exports, self.refreshes, announce_health)

    @cached_property
    def freshness(self) -> Freshnesses:
        from shared.services.freshness import Freshnesses

        return Freshnesses(self.stores, self.connectors, self.tables)

    @cached_property
    def channels(self) -> Channels:
        from shared.connectors._outgoing import Outgoing
        from shared.services.channels import Channels

        allowed = Outgoing(
            self.resolver,
            self.settings.notice_hosts,
            "NOTICE_HOSTS",
            frozenset({443}),
            longest_answer_s=NOTICE_ANSWER_S,
            hides_path=True,
        )
        return Channels(self.stores, self.settings.prefix, allowed)

    @cached_property
    def notices(self) -> NoticeDeliveries:
        from shared.services.notice_deliveries import NoticeDeliveries, NoticeSettings

        settings = NoticeSettings(self.settings.urls["refresh"], self.settings.notice_queue)
        return NoticeDeliveries(self.stores, self.channels, settings)

    @cached_property
    def reconciler(self) -> Reconciler:
        from shared.services.reconciler import Reconciler

        return Reconciler(self.stores, self.schedules)

    @cached_property
    def configurations(self) -> Configurations:
        from shared.services.configuration import Configurations

        return Configurations(self.stores, self.connectors, self.tables, self.schedules)

    @cached_property
    def sweeper(self) -> Sweeper:
        from shared.services.sweeper import Sweeper

        return Sweeper(self.stores, self.exports, self.refreshes, self.reconciler)

    @cached_property
    def credentials(self) -> Credentials:
        from shared.services.credentials import Credentials

        return Credentials(self.stores, self.settings.prefix)

    @cached_property
    def readiness(self) -> Readiness:
        from shared.services.readiness import Readiness

        return Readiness(self.stores.documents, self.clock)

    @cached_property
    def audit(self) -> Audit:
        from shared.services.audit import Audit

        return Audit(self.stores.documents, self.clock)

    def _engine(self) -> Engine:
        from shared.pipeline.delivery import ExportEngine

        connectors = self.connectors
        engine = ExportEngine(
            self.stores,
            frozen_bucket=self.settings.frozen_bucket,
            exports_bucket=self.settings.exports_bucket,
            open_connector=connectors.open_for,
            remembered_target=connectors.target_of,
            lineage=self.lineage,
            confirm_target=connectors.confirm_target,
        )
        return _Returning(engine, self.quotas)


@cache
def services() -> Services:
    """Return this instance's services; the settings are read on the first call."""
    settings = read_settings()
    if settings.trace_export_url:
        from shared.spans import Spans

        export_spans_to(Spans(settings.trace_export_url, settings.project))
    return Services(settings, google_stores(settings))
