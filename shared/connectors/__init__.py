"""The kinds of connector: their light declarations here, their heavy modules on first use."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from shared.connectors import google_sheets, looker, power_bi

if TYPE_CHECKING:
    import msgspec

    from shared.connectors._base import Capabilities, Connector, RefreshEffect, Runtime

DECLARATIONS = {module.KIND: module for module in (power_bi, looker, google_sheets)}
"""Kind to its light module: `KIND`, `Config`, `SECRET_FIELDS`, `TargetOptions`, `RefreshOptions`, `CAPABILITIES`, `CONNECTOR`,
`place`, `dataset_name`; of refreshes `refreshed(config, options)`, `effect(options)` and `refreshes_a_day(config)`."""

ConnectorConfig = power_bi.Config | looker.Config | google_sheets.Config


def capabilities(kind: str) -> Capabilities:
    """Return what a kind can do."""
    declared: Capabilities = DECLARATIONS[kind].CAPABILITIES
    return declared


def place_of(config: Mapping[str, Any], table_name: str, options: Mapping[str, Any]) -> str:
    """Return a name of the physical target that a job writes to: the same through whatever connector it is reached.

    Args:
        config: the connector's stored configuration.
        options: the job's `TargetOptions` as builtins.
    """
    declared = DECLARATIONS[config["connector_type"]]
    return json.dumps([declared.KIND, *declared.place(config, table_name, options)])


def refreshed_of(config: Mapping[str, Any], options: Mapping[str, Any]) -> str | None:
    """Return a name of what a refresh computes anew, the same through whatever connector; None if there is nothing to refresh."""
    declared = DECLARATIONS[config["connector_type"]]
    parts = declared.refreshed(config, options)
    return json.dumps([declared.KIND, *parts]) if parts else None


def refresh_effect(kind: str, options: Mapping[str, Any]) -> RefreshEffect:
    """Return what readers see after a refresh with these options that succeeded."""
    effect: RefreshEffect = DECLARATIONS[kind].effect(options)
    return effect


def dataset_of(config: Mapping[str, Any], table_name: str, options: Mapping[str, Any]) -> tuple[str, str]:
    """Return how lineage names what a job writes to (namespace, name); see `place_of`."""
    named: tuple[str, str] = DECLARATIONS[config["connector_type"]].dataset_name(config, table_name, options)
    return named


def load(config: msgspec.Struct, secrets: Mapping[str, Any], runtime: Runtime) -> Connector:
    """Import a kind's heavy module and return the live connector. `secrets` maps each of `SECRET_FIELDS` to its value."""
    kind = type(config).__struct_config__.tag
    module_name, class_name = DECLARATIONS[str(kind)].CONNECTOR.split(":")
    connector: Connector = getattr(importlib.import_module(module_name), class_name)(config, secrets, runtime)
    return connector
