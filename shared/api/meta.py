"""Routes that every function has."""

from __future__ import annotations

from shared.api.dispatch import Call, Reply
from shared.config import VERSION
from shared.errors import NotFoundError
from shared.models import Health, Ready


def health(call: Call) -> Reply:
    """Answer without touching anything: the process runs."""
    return Reply(Health(status="ok", function=call.function, version=VERSION))


def openapi(call: Call) -> Reply:
    """Return this function's part of the API description."""
    from shared.api.openapi import document

    return Reply(document(call.function, call.services.settings.urls[call.function]))


def ready(call: Call) -> Reply:
    """Answer once Firestore does; asked at most every ten seconds."""
    return Reply(Ready(status="ok", function=call.function, checked_at=call.services.readiness.check()))


def docs(call: Call) -> Reply:
    """Return the description of all functions as one page."""
    from shared.api.docs import page

    return Reply(page(call.services.settings.urls))


def problem_page(call: Call) -> Reply:
    """Return what an error code means."""
    from shared.api.docs import problem_page as page
    from shared.api.problem_codes import meanings

    code = call.path["code"]
    if code not in meanings():
        raise NotFoundError(f"there is no error code {code!r}; README and /docs list what there is")
    return Reply(page(code, meanings()[code]))
