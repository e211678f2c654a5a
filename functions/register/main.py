"""The register function: connectors and their tests. Entry point `register`."""

from __future__ import annotations

import flask

from shared.api.dispatch import Function
from shared.bootstrap import services

_function = Function("register", services)


def register(request: flask.Request) -> flask.Response:
    """Answer one HTTP request."""
    return _function(request)
