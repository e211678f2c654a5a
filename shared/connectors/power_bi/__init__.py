"""Power BI: push datasets for rows, import models for refreshes. Light part: the configuration and what the kind can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from shared.connectors._base import Capabilities, Mode, RefreshEffect, Verification

KIND = "power_bi"
CONNECTOR = "shared.connectors.power_bi.connector:PowerBIConnector"
SECRET_FIELDS = ("client_secret",)

CAPABILITIES = Capabilities(
    modes=frozenset({Mode.REPLACE, Mode.APPEND}),
    atomic_replace=False,
    refresh=True,
    verification=Verification.AGGREGATES,
    note="A Power BI push dataset has no staging and no atomic replace. Replace: readers can see the table empty or partly filled "
    "while it runs, and one that fails leaves it incomplete until it is repaired. Append: readers see rows as they arrive, and one "
    "that fails leaves what it wrote.",
)


class Config(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="connector_type", tag=KIND
):
    """A workspace and the service principal that may write to it.

    Attributes:
        tenant_id: Entra tenant, a GUID or a verified domain.
        client_id: application (client) id of the service principal.
        workspace_id: GUID of the workspace (group); the principal is Contributor or higher there.
        dataset_id: an existing push dataset to write to; without it one dataset a table is created, named after the table.
        refresh_dataset_id: an import or Direct Lake model that `refresh` refreshes; a push dataset cannot be refreshed.
        capacity: what the workspace is on; `shared` (if not said) allows 8 refreshes a day, `premium` (PPU, Fabric) sets no number.
        client_secret: the principal's secret; kept in Secret Manager only.
    """

    tenant_id: str
    client_id: str
    workspace_id: str
    dataset_id: str | None = None
    refresh_dataset_id: str | None = None
    capacity: Literal["shared", "premium"] | None = None
    client_secret: str | None = None


def place(config: Mapping[str, Any], table_name: str, options: Mapping[str, Any]) -> list[str]:
    """The table of the dataset, which is known by its id or else by its name in the workspace.

    A dataset that one connector names by id and another finds by name is two places: before the first export by name nobody
    knows its id.
    """
    if config.get("dataset_id"):
        return ["id", str(config["dataset_id"]).lower(), table_name]
    return ["name", str(config["workspace_id"]).lower(), str(options.get("dataset_name") or table_name), table_name]


def dataset_name(config: Mapping[str, Any], table_name: str, options: Mapping[str, Any]) -> tuple[str, str]:
    """The table's name in lineage: where it is, and what it is called there."""
    workspace = f"https://api.powerbi.com/v1.0/myorg/groups/{config['workspace_id']}"
    return workspace, f"{config.get('dataset_id') or options.get('dataset_name') or table_name}/{table_name}"


REFRESHES_A_DAY_SHARED = 8  # scheduled ones included; learn.microsoft.com/power-bi/connect-data/refresh-data


_EFFECTS = {
    "full": RefreshEffect.RENEWS,
    "clearvalues": RefreshEffect.EMPTIES,
    "dataonly": RefreshEffect.LOADS,
    "calculate": RefreshEffect.CALCULATES,
    "automatic": RefreshEffect.KEEPS,  # what is processed already is left as it is
    "defragment": RefreshEffect.KEEPS,
}
"""By the type of an enhanced refresh: learn.microsoft.com/analysis-services/tmsl/refresh-command-tmsl."""


def refreshed(config: Mapping[str, Any], options: Mapping[str, Any]) -> list[str]:  # noqa: ARG001 - the same for every refresh
    """What a refresh computes anew: the model in its workspace; empty if there is none."""
    model = config.get("refresh_dataset_id")
    return [str(config["workspace_id"]).lower(), str(model).lower()] if model else []


def effect(options: Mapping[str, Any]) -> RefreshEffect:
    """What readers see after a refresh with these options."""
    return _EFFECTS.get(str(options.get("type") or "full").lower(), RefreshEffect.KEEPS)


def refreshes_a_day(config: Mapping[str, Any]) -> int | None:
    """How many refreshes the vendor allows in 24 hours, None where it sets no number."""
    return None if config.get("capacity") == "premium" else REFRESHES_A_DAY_SHARED


class TargetOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where an export goes.

    Attributes:
        dataset_name: the push dataset to find or create; without it, the table's name. Not used with `Config.dataset_id`.
        round_times: round times to the 1/300 s that Power BI keeps, instead of refusing those that would change.
        delivery: `at_least_once` is needed to append where Power BI keeps no sequence numbers: rows could come twice.
    """

    dataset_name: str | None = None
    delivery: Literal["exactly_once", "at_least_once"] = "exactly_once"
    round_times: bool = False


class RefreshOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fields of an enhanced refresh (Premium, PPU, Fabric), which alone can be cancelled; all empty gives a standard one.

    Attributes:
        type: Full (if not said), ClearValues, Calculate, DataOnly, Automatic or Defragment. Data counts as fresh after Full, or
            after DataOnly with a Calculate to follow.
        timeout: limit of one attempt, `hh:mm:ss` below 24 hours.
    """

    type: str | None = None
    timeout: str | None = None
