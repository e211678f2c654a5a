"""Sandbox of the Google Sheets API v4."""

from .sandbox import GoogleSheetsSandbox

__all__ = ["GoogleSheetsSandbox"]
