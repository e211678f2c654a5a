"""What people send and keep of a connector: configuration apart from secrets, patches, capabilities. Pure functions."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import msgspec

from shared import connectors as kinds
from shared.errors import InvalidRequestError, TargetError, not_of_the_form

SECRET_VERSION = re.compile(r"projects/[a-z0-9:.-]+/secrets/[A-Za-z0-9_-]{1,255}/versions/[1-9][0-9]{0,17}", re.ASCII)
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
MAX_PAYLOAD_BYTES = 65_536  # of one version: cloud.google.com/secret-manager/quotas


def split_secrets(body: msgspec.Struct) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (configuration without secrets, secrets by field). Fields without a value are left out of both."""
    config: dict[str, Any] = {key: value for key, value in msgspec.to_builtins(body).items() if value is not None}
    for name in ("name", "credentials_secret"):
        config.pop(name, None)
    declared = kinds.DECLARATIONS[config["connector_type"]]
    secrets = {field: config.pop(field) for field in declared.SECRET_FIELDS if field in config}
    require_lines(config)
    return config, {field: _parsed(value) for field, value in secrets.items()}


def require_lines(fields: Mapping[str, Any], place: str = "") -> None:
    """Raise `InvalidRequestError` if a text holds a line feed, as a copied one may at its end, or another control character."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            require_lines(value, f"{place}{name}.")
        elif isinstance(value, str) and CONTROL.search(value):
            raise InvalidRequestError(
                f"{place}{name} holds a line break or another control character; send it without",
                field=f"{place}{name}",
            )


def stored_config(connector: Mapping[str, Any]) -> Any:
    """Return the configuration that a connector's document holds. Raises `TargetError` if no such one would be taken now."""
    try:
        return msgspec.convert(connector["config"], kinds.DECLARATIONS[connector["connector_type"]].Config)
    except msgspec.ValidationError as exc:
        what = f"connector {connector['name']!r} is stored with a configuration that cannot be used, change it"
        raise TargetError(not_of_the_form(exc, what).message) from exc


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


def encode_secrets(secrets: Mapping[str, Any]) -> bytes:
    """Return credentials as a Secret Manager version holds them. Raises `InvalidRequestError` if it would not."""
    payload = json.dumps(dict(secrets), sort_keys=True).encode()
    if len(payload) > MAX_PAYLOAD_BYTES:
        largest = max(secrets, key=lambda field: len(json.dumps(secrets[field])))
        raise InvalidRequestError(
            f"the credentials have {len(payload)} bytes and Secret Manager keeps at most {MAX_PAYLOAD_BYTES}; send a shorter "
            f"{largest}",
            field=largest,
        )
    return payload


def check_reference(reference: str) -> None:
    """Raise `InvalidRequestError` unless a text names a version of a secret. It is not repeated: people paste secrets there."""
    if not SECRET_VERSION.fullmatch(reference):
        raise InvalidRequestError(
            "credentials_secret names no version of a secret; expected projects/PROJECT/secrets/SECRET/versions/NUMBER (the "
            "secret itself goes into its own field)",
            field="credentials_secret",
        )


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
