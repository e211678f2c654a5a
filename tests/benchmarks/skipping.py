"""The shipped services on a clock that skips time."""

from __future__ import annotations

from dataclasses import fields

from shared.bootstrap import Services, google_stores
from shared.config import read_settings
from shared.ports import Clock, Stores


def services_on(clock: Clock) -> Services:
    """Return the services of this process's environment on the shipped adapters, with another clock than the system's."""
    settings = read_settings()
    google = google_stores(settings)
    others = {field.name: getattr(google, field.name) for field in fields(Stores) if field.name != "clock"}
    return Services(settings, Stores(**others, clock=clock))
