"""Sandbox of Looker (API 4.0) on top of the embedded Postgres. See `sandbox.py`."""

from .sandbox import LookerSandbox

__all__ = ["LookerSandbox"]
