"""What people send and keep of a connector: configuration apart from secrets, patches, capabilities. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import msgspec

from shared import connectors as kinds
from shared.errors import InvalidRequestError


def split_secrets(body: msgspec.Struct) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (configuration without secrets, secrets by field). Fields without a value are left out of both."""
    config: dict[str, Any] = {key: value for key, value in msgspec.to_builtins(body).items() if value is not None}
    for name in ("name", "credentials_secret"):
        config.pop(name, None)
    declared = kinds.DECLARATIONS[config["connector_type"]]
    secrets = {field: config.pop(field) for field in declared.SECRET_FIELDS if field in config}
    return config, {field: _parsed(value) for field, value in secrets.items()}


def decode_secrets(payload: bytes, reference: str) -> dict[str, Any]:
    """Return the credentials that a Secret Manager version holds. Raises `InvalidRequestError` if it holds something else."""
    try:
        secrets = json.loads(payload)
    except (ValueError, RecursionError):
        secrets = None
    if not isinstance(secrets, dict):
        raise InvalidRequestError(
            f"{reference} does not hold a JSON object of credential fields", field="credentials_secret"
        )
    return secrets


def describe_capabilities(kind: str) -> dict[str, Any]:
    """Return a kind's capabilities as JSON values."""
    declared = kinds.capabilities(kind)
    return {**asdict(declared), "modes": sorted(declared.modes), "verification": str(declared.verification)}


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """JSON merge patch (RFC 7396) of objects: null removes, objects merge, the rest replaces."""
    merged = dict(old)
    for key, value in new.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge_patch(merged[key], value)
        else:
            merged[key] = value
    return merged


def _parsed(value: Any) -> Any:
    """Return a JSON object that was sent as text (a key file's content) as the object; anything else as it is."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value
