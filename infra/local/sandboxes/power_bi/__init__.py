"""Sandbox of the Power BI REST API: push datasets, refreshes, and the few DAX shapes that verify a delivery."""

from .sandbox import PowerBISandbox

__all__ = ["PowerBISandbox"]
