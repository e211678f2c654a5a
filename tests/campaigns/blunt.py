"""Deliveries without any guard, one for each kind of target: what a naive exporter does. A campaign must notice them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import psycopg
import pyarrow as pa

from shared.connectors import _retry
from shared.connectors._base import Chunk, Delivery, Published, Written
from shared.connectors._fingerprint import Fingerprint
from shared.connectors.power_bi import encode
from tests.campaigns.machine import Machine


class Blunt:
    """A delivery whose chunks go straight behind the live rows, without staging, positions, numbers or a token, and unverified.

    A job that nothing happens to delivers just its rows.
    """

    def __init__(self, inner: Any, machine: Machine) -> None:
        self.inner, self.machine = inner, machine
        self.chunk_rows: int = inner.chunk_rows
        self.is_staged: bool = inner.is_staged

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def preflight(self) -> None:
        """Nothing is refused."""

    def write(self, chunk: Chunk) -> Written:
        self.add([list(row.values()) for row in chunk.table.to_pylist()], chunk)
        return Written(0)

    def add(self, rows: list[list[Any]], chunk: Chunk) -> None:
        """Put rows behind those that are there."""
        raise NotImplementedError

    def fingerprint(self, table: pa.Table, first_row: int = 0) -> Fingerprint:
        """Nothing is expected."""
        return Fingerprint()

    def read_back(self) -> Fingerprint:
        return Fingerprint()

    def is_published(self) -> bool:
        return False

    def publish(self) -> Published:
        return Published("nowhere")


class BluntPostgres(Blunt):
    """One INSERT a row, all of them tried again after whatever went wrong."""

    def add(self, rows: list[list[Any]], chunk: Chunk) -> None:
        into = f'INSERT INTO bi."{self.inner._plan.table_name}" (id, version, name) VALUES (%s, %s, %s)'

        def insert(connection: psycopg.Connection) -> None:
            for row in rows:
                connection.execute(into, row)

        self.inner._do(f"inserting chunk {chunk.index}", insert)


class BluntSheets(Blunt):
    """`values.append`, tried again by the client like every call."""

    def add(self, rows: list[list[Any]], chunk: Chunk) -> None:
        client = self.inner._client
        place, how = f"{self.inner._plan.table_name}!A1", {"valueInputOption": "RAW"}
        sheet = client.spreadsheet_id
        client.call(
            f"appending chunk {chunk.index}", lambda http: http.values_append(sheet, place, how, {"values": rows})
        )


class BluntPowerBI(Blunt):
    """A POST without a sequence number, tried again like any other call."""

    def publish(self) -> Published:
        published: Published = self.inner.publish()
        return published

    def add(self, rows: list[list[Any]], chunk: Chunk) -> None:
        table = self.inner._table(self.inner._state()["dataset_id"])
        for body in encode.bodies(encode.held(chunk.table)):
            _retry.call(lambda body=body: table.post(body, None, 0), self.machine.clock)  # type: ignore[misc]  # called at once


BLUNT: Mapping[str, Callable[[Any, Machine], Delivery]] = {
    "looker": BluntPostgres,
    "google_sheets": BluntSheets,
    "power_bi": BluntPowerBI,
}
