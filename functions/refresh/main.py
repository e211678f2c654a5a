"""The refresh function: refresh runs, schedules, and what Cloud Scheduler calls. Entry point `refresh`."""

from __future__ import annotations

import flask
import functions_framework

from shared.api.dispatch import Function
from shared.bootstrap import services

_function = Function("refresh", services)


def refresh(request: flask.Request) -> flask.Response:
    """Answer one HTTP request."""
    return _function(request)


@functions_framework.errorhandler(404)  # type: ignore[untyped-decorator]  # the framework has no types
def unrouted(_: Exception) -> flask.Response:
    """Answer as any other what the framework refuses by itself: a line feed in the path, /favicon.ico."""
    return refresh(flask.request)
