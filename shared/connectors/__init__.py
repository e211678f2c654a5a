"""The kinds of connector: their light declarations here, their heavy modules on first use."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from shared.connectors import google_sheets, looker, power_bi

if TYPE_CHECKING:
    import msgspec

    from shared.connectors._base import Capabilities, Connector, Runtime

DECLARATIONS = {module.KIND: module for module in (power_bi, looker, google_sheets)}
"""Kind to its light module: `KIND`, `Config`, `SECRET_FIELDS`, `TargetOptions`, `RefreshOptions`, `CAPABILITIES`, `CONNECTOR`."""

ConnectorConfig = power_bi.Config | looker.Config | google_sheets.Config


def capabilities(kind: str) -> Capabilities:
    """Return what a kind can do."""
    declared: Capabilities = DECLARATIONS[kind].CAPABILITIES
    return declared


def load(config: msgspec.Struct, secrets: Mapping[str, Any], runtime: Runtime) -> Connector:
    """Import a kind's heavy module and return the live connector. `secrets` maps each of `SECRET_FIELDS` to its value."""
    kind = type(config).__struct_config__.tag
    module_name, class_name = DECLARATIONS[str(kind)].CONNECTOR.split(":")
    connector: Connector = getattr(importlib.import_module(module_name), class_name)(config, secrets, runtime)
    return connector
