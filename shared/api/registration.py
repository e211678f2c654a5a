"""The body of a registration: the kind's configuration, flat, beside the connector's name; told apart by `connector_type`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Union

import msgspec

from shared import connectors as kinds
from shared.models import Name


def _registration(kind: str, module: Any) -> Any:
    title = "Register" + "".join(word.capitalize() for word in kind.split("_"))
    return msgspec.defstruct(
        title,
        [("name", Name), ("credentials_secret", str | None, None)],
        bases=(module.Config,),
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
        tag_field="connector_type",
        tag=kind,
        module=__name__,
        namespace={"__doc__": module.Config.__doc__},
    )


REQUESTS = tuple(_registration(kind, module) for kind, module in kinds.DECLARATIONS.items())
RegisterRequest = Union[REQUESTS]  # type: ignore[valid-type]  # noqa: UP007 - made at run time from the kinds there are


def registration(item: Mapping[str, Any]) -> Any:
    """Return an item of a configuration as the body of `register`. Raises `msgspec.ValidationError`."""
    return msgspec.convert(item, RegisterRequest)
