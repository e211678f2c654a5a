"""Delivery of one job into the warehouse: COPY into a staging table, read back, one guarded publish."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import psycopg
import pyarrow as pa
from psycopg import sql

from shared.connectors import _retry
from shared.connectors._base import Begun, Chunk, DeliveryPlan, Mode, Published, Written
from shared.connectors._fingerprint import Fingerprint
from shared.connectors.looker import checksum, side_effects, staging, upsert
from shared.connectors.looker.columns import Column, compare, postgres_columns, require_identifier
from shared.connectors.looker.encode import check_values, copy_text
from shared.connectors.looker.publish import publish
from shared.connectors.looker.warehouse import RESERVED_PREFIX, Session, Warehouse
from shared.errors import CredentialError, InternalError, TargetError
from shared.ports import Clock

T = TypeVar("T")
CHUNK_CELLS = 1_000_000  # our choice: about 10 MB of COPY text, and half a second of work that a crash can lose
MOST_ROWS, FEWEST_ROWS = 50_000, 1_000
OLDEST_VERSION = 14_00_00  # the first that hashes whole rows (`checksum`); postgresql.org/support/versioning
COUNT_TIMEOUT = "60s"  # our choice: a tenth of a time box; about 100 million rows
_TABLE_KINDS = {"r", "p"}  # ordinary and partitioned: pg_class.relkind
_RIGHTS = {
    Mode.REPLACE: ("INSERT", "DELETE", "SELECT"),
    Mode.APPEND: ("INSERT",),
    Mode.UPSERT: ("INSERT", "UPDATE", "SELECT"),
}
_ESTIMATE = """
SELECT c.reltuples FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s
"""


class PostgresDelivery:
    """One job's way into `schema.table`. Nothing is kept between calls but the plan and a connection: staging is in the warehouse."""

    is_staged = True

    def __init__(self, plan: DeliveryPlan, warehouse: Warehouse, clock: Clock, sign_in: Callable[[], object]) -> None:
        self._plan = plan
        self._sign_in = sign_in
        self._warehouse = warehouse
        self._session = Session(warehouse)
        self._clock = clock
        self._schema = warehouse.settings.schema
        self._table = str(plan.options.get("table") or plan.table_name)
        self._staging = staging.staging_name(plan.job_id)
        self.chunk_rows = max(FEWEST_ROWS, min(MOST_ROWS, CHUNK_CELLS // max(1, len(plan.schema))))

    def preflight(self) -> None:
        """Check names, types, rights and the shape of an existing table, and that Looker takes its key; touch nothing.

        The rows go to the warehouse only, but nobody would see them through a Looker that refuses us.

        Raises:
            TargetError: with the limit and the figure, or with everything that drifted.
            CredentialError: Looker refuses the API key, or the load role may not create tables in the schema, or write this one.
        """
        columns = postgres_columns(self._plan.schema)
        upsert.check_key(self._plan)
        require_identifier(self._table, "table")
        if self._table.startswith(RESERVED_PREFIX):
            raise TargetError(
                f"the table name {self._table!r} begins with {RESERVED_PREFIX!r}, which is ours; choose another"
            )
        self._sign_in()
        self._do("checking the target", lambda connection: self._check_target(connection, columns))

    def begin(self) -> Begun:
        """Create staging and the bookkeeping tables; a repeat keeps the chunks that are in already.

        Raises:
            TargetError: code `staging_gone`, the job was abandoned by another process.
        """
        columns = postgres_columns(self._plan.schema)

        def work(connection: psycopg.Connection) -> None:
            staging.make_bookkeeping(connection, self._schema)
            if self._is_published(connection):
                return
            with connection.transaction():
                staging.lock(connection, self._schema, self._staging)
                if staging.is_abandoned(connection, self._schema, self._plan.job_id):
                    raise self._staging_gone()
                # In this order: a rival's publish drops the staging and records the job in one commit.
                if staging.oid(connection, self._schema, self._staging) is None and not self._is_published(connection):
                    staging.forget(connection, self._schema, self._plan.job_id)
                    staging.make_table(connection, self._schema, self._staging, columns)
            staging.sweep(connection, self._schema)

        self._do("creating the staging table", work)
        return Begun(state={"staging": self._staging}, target={"schema": self._schema, "table": self._table})

    def write(self, chunk: Chunk) -> Written:
        """COPY one chunk and record it, in one transaction; a chunk that is recorded already is left as it is.

        Raises:
            TargetError: staging is gone (the job was abandoned by another process).
        """
        columns = postgres_columns(self._plan.schema)

        def work(connection: psycopg.Connection) -> Written:
            if not self._has_staging(connection):
                return Written(0)
            try:
                return self._copy(connection, chunk, columns)
            except psycopg.errors.UndefinedTable:
                if self._has_staging(connection):
                    raise
                return Written(0)  # another worker of this job published in the meantime

        return self._do(f"writing chunk {chunk.index}", work)

    def fingerprint(self, table: pa.Table, first_row: int = 0) -> Fingerprint:
        """Return the checksum of these rows as Postgres holds them (`checksum`). Pure.

        Raises:
            SourceError: a value that Postgres cannot hold, or an empty key of an upsert, with row and column.
        """
        check_values(table, first_row)
        if self._plan.mode is Mode.UPSERT:
            upsert.refuse_empty(table, self._plan.key, first_row)
        return checksum.of_rows(table)

    def read_back(self) -> Fingerprint:
        """Let Postgres read every staged row and return the checksum; of a published job, the one recorded before publishing.

        Raises:
            SourceError: code `key_twice`, two rows of an upsert have one key.
        """
        columns = postgres_columns(self._plan.schema)

        def work(connection: psycopg.Connection) -> Fingerprint:
            try:
                if self._plan.mode is Mode.UPSERT:
                    upsert.refuse_twice(connection, self._id(self._staging), self._plan.key)
                found, quick = checksum.of_table(connection, self._id(self._staging), columns)
            except psycopg.errors.UndefinedTable:
                if self._has_staging(connection):
                    raise
                return self._published_fingerprint(connection)
            self._record_read_back(connection, found, quick)
            return found

        return self._do("reading the staged rows back", work)

    def is_published(self) -> bool:
        """Whether `_bi_publications` has this job."""
        return self._do("asking whether the job is published", self._is_published)

    def publish(self) -> Published:
        """Make the staged rows live in one transaction (see `publish.publish`); a second call changes nothing."""
        columns = postgres_columns(self._plan.schema)
        self._do(
            "publishing",
            lambda connection: publish(connection, self._plan, columns, schema=self._schema, table=self._table),
        )
        details = {"schema": self._schema, "table": self._table, "rows": self._plan.rows, "mode": self._plan.mode.value}
        return Published(self._warehouse.location(self._table), details)

    def abandon(self) -> None:
        """Note that the job was abandoned, drop staging and forget its chunks; no effect if they are gone, or never were."""

        def work(connection: psycopg.Connection) -> None:
            if not self._has_bookkeeping(connection):
                return
            # First, and in no transaction with the rest: whoever wakes now makes nothing.
            staging.note_abandoned(connection, self._schema, self._plan.job_id)
            with connection.transaction():
                connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(self._id(self._staging)))
                staging.forget(connection, self._schema, self._plan.job_id)

        self._do("removing the staging table", work)

    def live_rows(self) -> int | None:
        """Count the rows of the live table: 0 if there is none, an estimate if counting takes too long; None if not even that."""

        def work(connection: psycopg.Connection) -> int | None:
            # In one exchange and one transaction: an error takes the SET back, too.
            count = sql.SQL("SET statement_timeout = {}; SELECT count(*) FROM {}; RESET statement_timeout").format(
                sql.Literal(COUNT_TIMEOUT), self._id(self._table)
            )
            try:
                cursor = connection.execute(count)
                cursor.nextset()
                row = cursor.fetchone()
            except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
                return 0
            except psycopg.errors.InsufficientPrivilege:  # or row security: preflight says which
                return None
            except psycopg.errors.QueryCanceled:
                row = connection.execute(_ESTIMATE, [self._schema, self._table]).fetchone()
                return int(row[0]) if row and row[0] > 0 else None
            return int(row[0]) if row else None

        return self._do("counting the rows of the table", work)

    def _do(self, doing: str, work: Callable[[psycopg.Connection], T]) -> T:
        def once() -> T:
            with self._session.use(doing) as connection:
                return work(connection)

        return _retry.call(once, self._clock)

    def _copy(self, connection: psycopg.Connection, chunk: Chunk, columns: list[Column]) -> Written:
        """Record and COPY one chunk in one transaction; nothing if it is recorded already."""
        with connection.transaction(), connection.cursor() as cursor:
            if not self._record(connection, chunk.index, chunk.table.num_rows):
                return Written(0)
            statement = sql.SQL("COPY {} ({}) FROM STDIN").format(self._id(self._staging), _names(columns))
            sent = 0
            with cursor.copy(statement) as copy:
                for block in copy_text(chunk.table):
                    copy.write(block)
                    sent += len(block)
            if cursor.rowcount != chunk.table.num_rows:
                raise InternalError(
                    f"chunk {chunk.index}: sent {chunk.table.num_rows} rows, Postgres took {cursor.rowcount}"
                )
        return Written(sent)

    def _id(self, name: str) -> sql.Identifier:
        return sql.Identifier(self._schema, name)

    def _check_target(self, connection: psycopg.Connection, columns: list[Column]) -> None:
        self._check_schema(connection)
        found = staging.oid(connection, self._schema, self._table)
        if found is None:
            return
        place = f"{self._schema}.{self._table}"
        if found[1] not in _TABLE_KINDS:
            raise TargetError(f"{place} is not a table (a view, or the like); choose another name")
        drift = compare(columns, staging.columns_of(connection, found[0]))
        if drift.problems:
            raise TargetError(
                f"{place} does not fit the export: {'; '.join(drift.problems)}. Change the table or the mapping, "
                "or export under another table name",
                code="schema_drift",
            )
        if self._plan.mode is Mode.UPSERT:
            upsert.check_target(connection, found[0], self._plan.key, place)
        side_effects.refuse(connection, found, self._plan.mode, self._plan.key, place)
        for right in _RIGHTS[self._plan.mode]:
            _require(connection, "has_table_privilege(%s::bigint::oid, %s)", [found[0], right], f"{right} on {place}")
        if drift.additions:
            owner = "pg_has_role((SELECT relowner FROM pg_catalog.pg_class WHERE oid = %s::bigint::oid), 'USAGE')"
            _require(connection, owner, [found[0]], f"ownership of {place}, to add columns")

    def _check_schema(self, connection: psycopg.Connection) -> None:
        if connection.info.server_version < OLDEST_VERSION:
            raise TargetError("the warehouse runs a Postgres before 14, which is not supported any more; update it")
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise TargetError(
                f"the warehouse database is encoded in {encoding}; it must be UTF8 to hold every character"
            )
        if (
            connection.execute("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = %s", [self._schema]).fetchone()
            is None
        ):
            raise TargetError(
                f"schema {self._schema!r} does not exist in the warehouse; create it, or correct warehouse.schema"
            )
        for right in ("USAGE", "CREATE"):
            call = "has_schema_privilege(%s, %s)"
            _require(connection, call, [self._schema, right], f"{right} on schema {self._schema}")

    def _has_staging(self, connection: psycopg.Connection) -> bool:
        """False if the job is published already. Raises `TargetError` if staging is gone otherwise."""
        if staging.oid(connection, self._schema, self._staging) is not None:
            return True
        if self._is_published(connection):
            return False
        raise self._staging_gone()

    def _staging_gone(self) -> TargetError:
        return TargetError(
            f"the staging table {self._schema}.{self._staging} is gone: the job was abandoned or somebody dropped it; "
            "start the export again",
            code="staging_gone",
        )

    def _has_bookkeeping(self, connection: psycopg.Connection) -> bool:
        """Make the bookkeeping tables if the load role may; False if there are none."""
        if staging.oid(connection, self._schema, staging.CHUNKS) is not None:
            return True
        query = "SELECT has_schema_privilege(oid, 'CREATE') FROM pg_catalog.pg_namespace WHERE nspname = %s"
        row = connection.execute(query, [self._schema]).fetchone()
        if not row or not row[0]:
            return False
        staging.make_bookkeeping(connection, self._schema)
        return True

    def _is_published(self, connection: psycopg.Connection) -> bool:
        if staging.oid(connection, self._schema, staging.PUBLICATIONS) is None:
            return False
        query = sql.SQL("SELECT 1 FROM {} WHERE job_id = {}")
        query_of_job = query.format(self._id(staging.PUBLICATIONS), sql.Literal(self._plan.job_id))
        return connection.execute(query_of_job).fetchone() is not None

    def _published_fingerprint(self, connection: psycopg.Connection) -> Fingerprint:
        query = sql.SQL("SELECT rows, checksum FROM {} WHERE job_id = {}")
        row = connection.execute(
            query.format(self._id(staging.PUBLICATIONS), sql.Literal(self._plan.job_id))
        ).fetchone()
        return Fingerprint.from_json({"rows": row[0], "checksum": row[1]}) if row else Fingerprint()

    def _record(self, connection: psycopg.Connection, chunk: int, rows: int) -> bool:
        """Claim a chunk in the present transaction; False if it is in already. A rival's claim is waited for."""
        query = sql.SQL("INSERT INTO {} (job_id, chunk, rows) VALUES ({}, {}, {}) ON CONFLICT DO NOTHING").format(
            self._id(staging.CHUNKS), sql.Literal(self._plan.job_id), sql.Literal(chunk), sql.Literal(rows)
        )
        return connection.execute(query).rowcount == 1

    def _record_read_back(self, connection: psycopg.Connection, found: Fingerprint, quick: str) -> None:
        query = sql.SQL(
            "INSERT INTO {chunks} (job_id, chunk, rows, checksum) VALUES ({job}, {slow}, {rows}, {checksum}),"
            " ({job}, {fast}, {rows}, {quick})"
            " ON CONFLICT (job_id, chunk) DO UPDATE SET rows = excluded.rows, checksum = excluded.checksum"
        ).format(
            chunks=self._id(staging.CHUNKS),
            job=sql.Literal(self._plan.job_id),
            slow=sql.Literal(staging.READ_BACK),
            fast=sql.Literal(staging.READ_BACK_QUICK),
            rows=sql.Literal(found.rows),
            checksum=sql.Literal(f"{found.checksum:032x}"),
            quick=sql.Literal(quick),
        )
        connection.execute(query)


def _names(columns: list[Column]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(column.name) for column in columns)


def _require(connection: psycopg.Connection, call: str, arguments: list[object], right: str) -> None:
    row = connection.execute(f"SELECT pg_catalog.{call}", arguments).fetchone()
    if not row or not row[0]:
        raise CredentialError(f"the warehouse role lacks {right}; grant it, then try again")
