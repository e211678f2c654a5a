"""Looker: a table in the warehouse behind a Looker connection, then a datagroup or PDT trigger. Light part."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec

from shared.connectors._base import Capabilities, Mode, RefreshEffect, Verification

KIND = "looker"
CONNECTOR = "shared.connectors.looker.connector:LookerConnector"
INSTANCE = re.compile(r"https://(?=[^/]*[a-z])(?!localhost)([a-z0-9-]+\.)+[a-z]{2,}(:(443|19999))?/?\Z", re.IGNORECASE)
"""A host name with a top-level domain (no address, no single label), on the ports that Looker uses. Looker's API: 19999."""
SECRET_FIELDS = ("client_secret", "warehouse_password")

CAPABILITIES = Capabilities(
    modes=frozenset({Mode.REPLACE, Mode.APPEND, Mode.UPSERT}),
    atomic_replace=True,
    refresh=True,
    verification=Verification.ROWS,
)


class Warehouse(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Postgres database that Looker's connection reads; the user's password is `warehouse_password` beside it.

    `host` must be on the administrator's allow-list (`WAREHOUSE_HOSTS`); `sslmode` as in libpq.
    """

    host: str
    database: str
    user: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 5432
    schema: str = "public"
    sslmode: str = "require"


class Config(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="connector_type", tag=KIND
):
    """A Looker instance, its API key, and the warehouse behind one of its connections.

    Attributes:
        base_url: `https://<instance>`; `client_id` and `client_secret` are an API key of a user there.
        connection: name of the Looker connection that reads `warehouse`.
        datagroup_id: what `refresh` triggers (cache and PDTs); or
        model, view: the persistent derived table that `refresh` builds and follows.
        client_secret, warehouse_password: kept in Secret Manager only.
    """

    base_url: str
    client_id: str
    warehouse: Warehouse
    connection: str
    datagroup_id: str | None = None
    model: str | None = None
    view: str | None = None
    client_secret: str | None = None
    warehouse_password: str | None = None

    def __post_init__(self) -> None:
        """Refuse what is not a Looker instance's own address: the API key is sent there."""
        if not INSTANCE.match(self.base_url):
            raise ValueError(
                "base_url must be https://<instance>, a host name without a path, e.g. https://acme.cloud.looker.com"
            )


def place(config: Mapping[str, Any], table_name: str, options: Mapping[str, Any]) -> list[str]:
    """The table in the database; a host that has several names is several places, which the table's lock keeps apart."""
    at = {"port": Warehouse.__struct_defaults__[0], "schema": Warehouse.__struct_defaults__[1], **config["warehouse"]}
    host = str(at["host"]).rstrip(".").lower()
    return [host, str(at["port"]), at["database"], at["schema"], str(options.get("table") or table_name)]


def dataset_name(config: Mapping[str, Any], table_name: str, options: Mapping[str, Any]) -> tuple[str, str]:
    """The table's name in lineage, as openlineage.io/docs/spec/naming has it for Postgres."""
    host, port, database, schema, table = place(config, table_name, options)
    return f"postgres://{host}:{port}", f"{database}.{schema}.{table}"


def refreshed(config: Mapping[str, Any], options: Mapping[str, Any]) -> list[str]:
    """What a refresh computes anew: the datagroup or the PDT of the instance; empty if there is none."""
    host, trigger = str(urlsplit(str(config["base_url"])).hostname), options.get("trigger")
    if trigger in (None, "datagroup") and config.get("datagroup_id"):
        return [host, "datagroup", str(config["datagroup_id"])]
    if trigger in (None, "pdt") and config.get("model") and config.get("view"):
        return [host, "pdt", str(config["model"]), str(config["view"])]
    return []


def effect(options: Mapping[str, Any]) -> RefreshEffect:  # noqa: ARG001 - the same for every refresh
    """What readers see after a refresh: the warehouse as it was when it began."""
    return RefreshEffect.RENEWS


def refreshes_a_day(config: Mapping[str, Any]) -> int | None:  # noqa: ARG001 - the same for every connector
    """How many refreshes the vendor allows in 24 hours: Looker sets no number."""
    return None


class TargetOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which table: `table` is its name in the warehouse's schema, by default the export's table name."""

    table: str | None = None


class RefreshOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to trigger: `datagroup` or `pdt`; by default the one that the connector is configured with (datagroup first)."""

    trigger: str | None = None
