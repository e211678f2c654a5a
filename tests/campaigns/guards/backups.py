"""Guards of backups and restores."""

from __future__ import annotations

from tests.campaigns.guards.guard import Guard

_CUT = "tests/functional/test_backup.py::test_a_backup_that_is_not_whole_changes_nothing"
_RESTORE = (
    "tests/functional/test_backup.py::test_nothing_is_taken_or_done_between_the_first_line_of_a_restore_and_its_last"
)

BACKUPS = (
    Guard(
        "nothing is done while documents are restored",
        "shared/api/dispatch.py",
        'if route.method != "GET" and not route.reads_mark:',
        "if False:",
        _RESTORE,
    ),
    Guard(
        "nothing is exported while documents are restored",
        "shared/services/exports.py",
        "        refuse_while_restoring(mark)\n",
        "",
        _RESTORE,
    ),
    Guard(
        "a backup is of one moment",
        "shared/data/backup.py",
        "    at = documents.moment()\n",
        "    at = None\n",
        "tests/functional/test_backup.py::test_a_backup_is_of_the_moment_when_it_began",
    ),
    Guard(
        "a backup whose end is missing is not restored",
        "shared/data/backup.py",
        "if told is None and not self._unclosed:",
        "if False:",
        _CUT,
    ),
    Guard(
        "a backup that lost lines is not restored",
        "shared/data/backup.py",
        "if told is not None and told != self.whole:",
        "if False:",
        _CUT,
    ),
    Guard(
        "a backup is checked before anything is deleted or written",
        "shared/data/__main__.py",
        "                backup.checked(source, unclosed=parsed.unclosed)\n",
        "                pass\n",
        _CUT,
    ),
    Guard(
        "a backup is checked again while it is restored",
        "shared/data/restore.py",
        "Reading(source, unclosed=how.unclosed)",
        "Reading(source, unclosed=True)",
        "tests/functional/test_backup.py::test_a_backup_that_changes_after_it_was_checked_leaves_the_functions_refusing",
    ),
    Guard(
        "a restore that takes audit entries away leaves its own",
        "shared/data/restore.py",
        "if document.path in kept:",
        "if False:",
        "tests/functional/test_audit.py::test_a_restore_takes_entries_away_and_leaves_its_own_behind_those_that_it_brought",
    ),
)
