"""The register function: connectors and their tests. Entry point `register`."""

from __future__ import annotations

import flask
import functions_framework

from shared.api.dispatch import Function
from shared.bootstrap import services

_function = Function("register", services)


def register(request: flask.Request) -> flask.Response:
    """Answer one HTTP request."""
    return _function(request)


@functions_framework.errorhandler(404)  # type: ignore[untyped-decorator]  # the framework has no types
def unrouted(_: Exception) -> flask.Response:
    """Answer as any other what the framework refuses by itself: a line feed in the path, /favicon.ico."""
    return register(flask.request)
