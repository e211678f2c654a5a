"""Google Sheets: a tab of a spreadsheet that is shared with a service account. Light part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from shared.connectors._base import Capabilities, Mode, RefreshEffect, Verification

KIND = "google_sheets"
CONNECTOR = "shared.connectors.google_sheets.connector:GoogleSheetsConnector"
SECRET_FIELDS = ("service_account_key",)

CAPABILITIES = Capabilities(
    modes=frozenset({Mode.REPLACE, Mode.APPEND, Mode.UPSERT}),
    atomic_replace=True,
    refresh=False,
    verification=Verification.ROWS,
)


class Config(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="connector_type", tag=KIND
):
    """One spreadsheet.

    Attributes:
        spreadsheet_id: the long id in the spreadsheet's URL; share it with the service account's e-mail as editor.
        service_account_key: the JSON key, as an object or as its text; kept in Secret Manager only.
    """

    spreadsheet_id: str
    service_account_key: dict[str, Any] | str | None = None


def place(config: Mapping[str, Any], table_name: str, options: Mapping[str, Any]) -> list[str]:
    """The tab of the spreadsheet; Google takes titles that differ in case only for the same."""
    return [config["spreadsheet_id"], str(options.get("worksheet") or table_name).lower()]


def dataset_name(config: Mapping[str, Any], table_name: str, options: Mapping[str, Any]) -> tuple[str, str]:
    """The tab's name in lineage: where it is, and what it is called there."""
    address = f"https://sheets.googleapis.com/v4/spreadsheets/{config['spreadsheet_id']}"
    return address, str(options.get("worksheet") or table_name)


def refreshed(config: Mapping[str, Any], options: Mapping[str, Any]) -> list[str]:  # noqa: ARG001 - the same for every connector
    """What a refresh computes anew: of a sheet nothing."""
    return []


def effect(options: Mapping[str, Any]) -> RefreshEffect:  # noqa: ARG001 - there is no refresh
    """What readers see after a refresh: what they saw before."""
    return RefreshEffect.KEEPS


def refreshes_a_day(config: Mapping[str, Any]) -> int | None:  # noqa: ARG001 - the same for every connector
    """How many refreshes the vendor allows in 24 hours: there are none."""
    return None


class TargetOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which tab: `worksheet` is its title, by default the table's name; made if it does not exist."""

    worksheet: str | None = None


class RefreshOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sheet computes nothing on demand: there are no options because there is no refresh."""
