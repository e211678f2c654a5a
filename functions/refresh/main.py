"""The refresh function: refresh runs, schedules, and what Cloud Scheduler calls. Entry point `refresh`."""

from __future__ import annotations

import flask

from shared.api.dispatch import Function
from shared.bootstrap import services

_function = Function("refresh", services)


def refresh(request: flask.Request) -> flask.Response:
    """Answer one HTTP request."""
    return _function(request)
