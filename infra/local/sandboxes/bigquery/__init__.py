"""Sandbox of BigQuery (REST v2): query jobs that are dry runs or `EXPORT DATA`, on DuckDB. See `sandbox.py`."""

from .sandbox import BigQuerySandbox

__all__ = ["BigQuerySandbox"]
