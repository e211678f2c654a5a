"""Handler of `apply`. The refresh function answers it: of all it has every right that a configuration needs.

Connectors and tables are documents, which every function may write; a schedule needs Cloud Scheduler, which only this function
may use. Credentials come as references, so nothing is written to Secret Manager, and no function has to call another.
"""

from __future__ import annotations

from shared.api.dispatch import Call, Reply
from shared.api.registration import registration


def apply(call: Call) -> Reply:
    """Apply a configuration, or say what that would take."""
    dry_run, prune = bool(call.query.get("dry_run")), bool(call.query.get("prune"))
    configurations = call.services.configurations
    return Reply(configurations.apply(call.body, call.caller.email, registration, dry_run=dry_run, prune=prune))
