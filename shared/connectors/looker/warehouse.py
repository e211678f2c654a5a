"""The Postgres behind a Looker connection: who may be dialled, its connections, errors by what to do next."""

from __future__ import annotations

import ipaddress
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from shared.connectors import looker
from shared.errors import BIConnectorsError, CredentialError, TargetError, VendorUnavailableError

CONNECT_TIMEOUT_S = 10
RESERVED_PREFIX = "_bi_"  # our choice: staging and bookkeeping tables begin so
SSL_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
BUSY_RETRY_S = 15.0  # our choice: somebody else's lock on the table is usually a short one
_REFUSED_LOGIN = ("password authentication failed", "no pg_hba.conf entry", "is not permitted to log in", "no password")
_SESSION = (
    "SET TIME ZONE 'UTC'; SET DateStyle = 'ISO, YMD'; SET extra_float_digits = 1; SET standard_conforming_strings = on; "
    "SET search_path = ''; SET client_min_messages = warning; SET lock_timeout = '10s'; SET row_security = off"
)


@dataclass(frozen=True)
class Warehouse:
    """One database and schema, with the password of the load role.

    Attributes:
        allowed_hosts: the administrator's list: exact names, `.suffix`es, addresses or CIDR ranges.
    """

    settings: looker.Warehouse
    password: str
    allowed_hosts: tuple[str, ...]

    @contextmanager
    def connect(self, doing: str) -> Iterator[psycopg.Connection]:
        """Open a connection in autocommit mode, closed at the end; our errors instead of psycopg's.

        Raises:
            TargetError: the host is not on the allow-list, the database does not exist, or Postgres refused a statement.
            CredentialError: the login or a right is refused.
            VendorUnavailableError: unreachable, busy, restarting, or the connection broke.
        """
        session = Session(self)
        try:
            with session.use(doing) as connection:
                yield connection
        finally:
            session.close()

    def open(self) -> psycopg.Connection:
        """Open a connection in autocommit mode. Raises what `connect` does, but psycopg's errors as they are."""
        settings = self.settings
        require_allowed(settings.host, self.allowed_hosts)
        if settings.sslmode not in SSL_MODES:
            raise TargetError(
                f"warehouse.sslmode is {settings.sslmode!r}; expected one of {', '.join(sorted(SSL_MODES))}"
            )
        connection = psycopg.connect(
            host=settings.host,
            port=settings.port,
            dbname=settings.database,
            user=settings.user,
            password=self.password,
            sslmode=settings.sslmode,
            connect_timeout=CONNECT_TIMEOUT_S,
            client_encoding="UTF8",
            application_name="bi-connectors",
            keepalives_idle=30,
            autocommit=True,
            prepare_threshold=None,  # poolers in transaction mode do not keep prepared statements
        )
        try:
            connection.execute(_SESSION)
        except BaseException:
            connection.close()
            raise
        return connection

    def location(self, table: str) -> str:
        """Name of a table that a person can find again; no credentials."""
        at = self.settings
        return f"postgres://{at.host}:{at.port}/{at.database}#{at.schema}.{table}"


class Session:
    """One connection for the steps of a delivery, opened for the first of them and again for the one behind any error.

    Closed with the last reference to this object: a delivery is given up at any point, and nobody is told.
    """

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._connection: psycopg.Connection | None = None
        self._close: Callable[[], object] = _nothing

    @contextmanager
    def use(self, doing: str) -> Iterator[psycopg.Connection]:
        """Lend the connection. Raises as `Warehouse.connect`."""
        try:
            if self._connection is None:
                self._connection = self._warehouse.open()
                closing = weakref.finalize(self, self._connection.close)
                closing.atexit = False  # the socket goes with the process
                self._close = closing
            yield self._connection
        except psycopg.Error as error:
            self.close()
            raise translate(error, self._warehouse.settings, doing) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection, if one is open."""
        self._close()
        self._connection, self._close = None, _nothing


def _nothing() -> None:
    return None


def require_allowed(host: str, allowed: Sequence[str]) -> None:
    """Raise `TargetError` unless the host is on the list: an exact name, below a `.suffix`, an address or in a CIDR range.

    A name is never resolved to match a range: whoever controls the name would choose the address.
    """
    wanted = host.strip().rstrip(".").lower()
    try:
        address = ipaddress.ip_address(wanted.strip("[]"))
    except ValueError:
        address = None
    for entry in (item.strip().rstrip(".").lower() for item in allowed):
        if not wanted or not entry or any(mark in wanted for mark in ",/\\@ "):  # libpq: several hosts, a socket folder
            continue
        if entry == wanted or (address is None and entry.startswith(".") and wanted.endswith(entry)):
            return
        if address is not None and _contains(entry, address):
            return
    raise TargetError(
        f"the warehouse host {host!r} is not on this deployment's allow-list; an administrator adds it to WAREHOUSE_HOSTS",
        code="host_not_allowed",
    )


def translate(error: psycopg.Error, settings: looker.Warehouse, doing: str) -> BIConnectorsError:
    """Return our error for one of psycopg's. Only Postgres' primary message is told: its details can hold row values."""
    state = error.sqlstate
    place = f"the warehouse {settings.host}:{settings.port}/{settings.database}"
    if state is None:
        return _connection_error(error, settings, place, doing)
    said = f"{place} refused while {doing}: {error.diag.message_primary or type(error).__name__}"
    if state in ("28000", "28P01"):
        return CredentialError(f"{said}; register the connector again with the right warehouse user and password")
    if state == "42501":
        return CredentialError(f"{said}; grant role {settings.user!r} this right on schema {settings.schema!r}")
    if state == "55P03":
        return VendorUnavailableError(
            f"{said}; another session holds the table, it will be tried again",
            code="target_busy",
            retry_after_s=BUSY_RETRY_S,
        )
    if state[:2] in ("08", "40", "53", "57", "58", "XX"):
        return VendorUnavailableError(f"{said}; it will be tried again")
    return TargetError(f"{said} (SQLSTATE {state})")


def _connection_error(error: psycopg.Error, settings: looker.Warehouse, place: str, doing: str) -> BIConnectorsError:
    """libpq gives no SQLSTATE for a connection that was never made, only the server's words."""
    text = str(error)
    if any(words in text for words in _REFUSED_LOGIN) or f'role "{settings.user}" does not exist' in text:
        return CredentialError(
            f"{place} refused the login of {settings.user!r}; register the connector again with the right user and password"
        )
    if f'database "{settings.database}" does not exist' in text:
        return TargetError(f"{place} does not exist; correct warehouse.database")
    if "server does not support SSL" in text:
        return TargetError(
            f"{place} has no TLS and warehouse.sslmode is {settings.sslmode!r}; turn TLS on at the server"
        )
    return VendorUnavailableError(
        f"{place} gave no answer while {doing} ({type(error).__name__}); it will be tried again",
        code="warehouse_unreachable",
    )


def _contains(entry: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        network = ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
    return address.version == network.version and address in network
