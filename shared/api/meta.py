"""Routes that every function has."""

from __future__ import annotations

from shared.api.dispatch import Call, Reply
from shared.config import VERSION
from shared.models import Health


def health(call: Call) -> Reply:
    """Answer without touching anything: the process runs."""
    return Reply(Health(status="ok", function=call.function, version=VERSION))


def openapi(call: Call) -> Reply:
    """Return this function's part of the API description."""
    from shared.api.openapi import document

    return Reply(document(call.function, call.services.settings.urls[call.function]))
