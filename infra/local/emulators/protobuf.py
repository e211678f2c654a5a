"""Field masks and page tokens on raw protobuf messages, as Cloud Tasks and Cloud Scheduler use them."""

from __future__ import annotations

import base64
from typing import Any

from google.protobuf import field_mask_pb2

from infra.local.emulators.grpc_server import RpcError


def merge(paths: Any, source: Any, target: Any) -> None:
    """Copy the fields named by `paths` from `source` to `target`, replacing messages, lists and maps whole.

    Raises:
        RpcError: INVALID_ARGUMENT, a path names no field.
    """
    mask = field_mask_pb2.FieldMask(paths=paths)
    if not mask.IsValidForDescriptor(target.DESCRIPTOR):
        raise RpcError(
            "INVALID_ARGUMENT", f"update_mask {list(paths)} names a field that {target.DESCRIPTOR.name} lacks"
        )
    mask.MergeMessage(source, target, True, True)


def page_of(request: Any, largest: int) -> tuple[int, str]:
    """Page size (the largest by default) and the name after which the page begins, of a list request."""
    if request.page_size < 0:
        raise RpcError("INVALID_ARGUMENT", f"page_size must not be negative; got {request.page_size}")
    try:
        after = base64.b64decode(request.page_token, altchars=b"-_", validate=True).decode()
    except ValueError as exc:  # of base64 (binascii.Error), of text that is not ASCII, or not UTF-8 inside
        raise RpcError("INVALID_ARGUMENT", "page_token is none that a list call returned") from exc
    return min(request.page_size or largest, largest), after


def token_after(name: str) -> str:
    """The page token of the page that begins behind `name`."""
    return base64.urlsafe_b64encode(name.encode()).decode()
