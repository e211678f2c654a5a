"""The export function, deployed twice: the API, and with EXPORT_ROLE=worker the private worker. Entry point `export`."""

from __future__ import annotations

import flask
import functions_framework

from shared.api.dispatch import Function
from shared.bootstrap import services
from shared.config import export_role

_function = Function("export_worker" if export_role() == "worker" else "export", services)


def export(request: flask.Request) -> flask.Response:
    """Answer one HTTP request."""
    return _function(request)


@functions_framework.errorhandler(404)  # type: ignore[untyped-decorator]  # the framework has no types
def unrouted(_: Exception) -> flask.Response:
    """Answer as any other what the framework refuses by itself: a line feed in the path, /favicon.ico."""
    return export(flask.request)
