"""Guards of the audit log: every call that writes an entry, as the code has them, and what an entry says."""

from __future__ import annotations

from tests.campaigns.guards.guard import Guard
from tests.functional.auditing import places

_ACTIONS, _AUDIT = "tests/functional/test_audited_actions.py::", "tests/functional/test_audit.py::"

ENTRIES = (
    *(
        Guard(
            f"an entry is left: {place.name}",
            place.file,
            place.call,
            "None",
            f"{_ACTIONS}test_the_entry_is_found[{place.name}]",
        )
        for place in places()
    ),
    Guard(
        "to stop a refresh that is being started is audited",
        "shared/services/refreshes.py",
        '_note_asked(tx, found.path, {"cancel_requested": True}, now)',
        'tx.update(found.path, {"cancel_requested": True})',
        _ACTIONS + "test_the_entry_is_found[refresh.cancel by refreshes, of one that is being started]",
    ),
    Guard(
        "a run by hand that waited is its caller's",
        "shared/services/occurrences.py",
        'waits.get("requested_by") or ',
        "",
        _ACTIONS + "test_the_entry_is_found[refresh.start by refreshes, of a run by hand that had to wait]",
    ),
    Guard(
        "an entry is never written over",
        "shared/audit.py",
        'tx.create(f"audit/{entry_id}", entry)',
        'tx.set(f"audit/{entry_id}", entry)',
        _AUDIT + "test_an_entry_is_not_written_over_by_another_of_its_id",
    ),
)
