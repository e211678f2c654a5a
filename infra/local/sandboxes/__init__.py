"""Sandboxes of the vendors: Entra ID, Google tokens, Power BI, Looker, Google Sheets, BigQuery; receivers of notices. See `_base.py`."""

from __future__ import annotations

import importlib
import importlib.util

from ._base import Sandbox

MODULES = ("entra_id", "google_identity", "power_bi", "looker", "google_sheets", "bigquery", "receivers")


def sandbox_classes() -> list[type[Sandbox]]:
    """The sandbox of every module that exists here, in the order of `MODULES`.

    Raises:
        TypeError: A module does not hold exactly one named sandbox class.
    """
    found = []
    for module_name in MODULES:
        full_name = f"{__name__}.{module_name}"
        spec = importlib.util.find_spec(full_name)
        if spec is None or spec.origin is None:  # nothing there, or a folder without __init__.py
            continue
        module = importlib.import_module(full_name)
        classes = {
            value
            for value in vars(module).values()
            if isinstance(value, type) and issubclass(value, Sandbox) and value.name
        }
        if len(classes) != 1:
            raise TypeError(f"{full_name} holds {len(classes)} sandbox classes with a name, expected exactly one")
        found.append(classes.pop())
    return found
