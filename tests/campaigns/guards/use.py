"""Guards of what may be asked, in which state, and of what cannot be taken back."""

from __future__ import annotations

from tests.campaigns.guards.access import CONNECTORS, DISPATCH, RECORDS
from tests.campaigns.guards.calls import SOURCES
from tests.campaigns.guards.guard import Guard
from tests.campaigns.guards.notices import CHANNELS

OPERATIONS, CONFIGURATION, EXPORTS = (
    "shared/services/job_operations.py",
    "shared/services/configuration.py",
    "shared/services/exports.py",
)
_JOBS, _APPLY, _SOURCES = (
    "tests/functional/test_job_operations.py::",
    "tests/functional/test_apply.py::",
    "tests/functional/test_sources.py::",
)
_ROWS, SWEEPER = "tests/functional/test_rows_in_use.py::", "shared/services/sweeper.py"
_LATER, POSTPONING = "tests/functional/test_postponing.py::", "shared/services/postponing.py"
_COLLECTION = "tests/functional/test_firestore_source.py::test_what_is_no_collection_or_ours_is_refused"
_LINK = "tests/functional/test_exports.py::test_a_link_to_the_kept_file_needs_no_identity_and_expires"
_CONNECTORS, _WRONG = "tests/functional/test_connectors.py::", _APPLY + "test_a_wrong_item_says_what_is_wrong"

USES = (
    Guard(
        "a project's number is no project", SOURCES, "if PROJECT.fullmatch(project) is None:", "if False:", _COLLECTION
    ),
    Guard(
        "a database's uid is no database", SOURCES, "if DATABASE.fullmatch(database) is None:", "if False:", _COLLECTION
    ),
    Guard("a reserved id is no collection", SOURCES, " or RESERVED.fullmatch(part)", "", _COLLECTION),
    Guard(
        "names that are listed are bounded",
        SOURCES,
        "if len(listed) > MAX_LISTED:",
        "if False:",
        _SOURCES + "test_a_pattern_whose_names_are_too_many_to_be_listed_is_refused",
    ),
    Guard(
        "rows or a source",
        EXPORTS,
        "if request.rows is not None and request.source is not None:",
        "if False:",
        _SOURCES + "test_rows_and_a_source_are_not_taken_together",
    ),
    Guard(
        "a file is sent to be kept and not to be shown", DISPATCH, "attachment; filename=", "inline; filename=", _LINK
    ),
    Guard("a file is no page", DISPATCH, "named}, mimetype=OCTETS)", 'named}, mimetype="text/html")', _LINK),
    Guard(
        "an unknown word of a query is refused",
        DISPATCH,
        "        if name not in known:\n            expected",
        "        if name not in known:\n            continue\n            expected",
        "tests/functional/test_edge.py::test_every_refusal_is_a_problem_document",
    ),
    Guard(
        "a request's id has a form",
        DISPATCH,
        "sent if REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex",
        "sent or uuid.uuid4().hex",
        "tests/functional/test_contract.py::test_a_request_id_of_another_form_is_replaced",
    ),
    Guard(
        "a name that no document can have is looked for nowhere",
        RECORDS,
        " if KEY.fullmatch(name) else None",
        "",
        "tests/functional/test_edge.py::test_a_name_that_no_document_could_have_is_not_there",
    ),
    Guard(
        "a configuration holds no secret", CONFIGURATION, "if secrets or not reference:", "if not reference:", _WRONG
    ),
    Guard("a configuration names a thing once", CONFIGURATION, "if name in seen:", "if False:", _WRONG),
    Guard(
        "a configuration does not change what a connector is",
        CONFIGURATION,
        'if found.data["connector_type"] != config["connector_type"]:',
        "if False:",
        _APPLY + "test_a_connector_of_another_type_is_not_replaced",
    ),
    Guard(
        "a word of the paths is no connector",
        CONNECTORS,
        "if name in RESERVED_NAMES:",
        "if False:",
        _CONNECTORS + "test_register_refuses_words_of_the_paths_and_bad_names",
    ),
    Guard(
        "a connector in use is not deleted",
        CONNECTORS,
        "            refuse_while_used(self._stores.documents, name)\n",
        "            pass\n",
        _CONNECTORS + "test_delete_is_refused_while_a_job_runs_unless_forced",
    ),
    Guard(
        "channels are bounded",
        CHANNELS,
        "if present is None and len(self.made()) >= MOST:",
        "if False:",
        "tests/functional/test_channels.py::test_there_are_at_most_twenty_channels",
    ),
    Guard(
        "a job that publishes is not cancelled",
        OPERATIONS,
        'if job.get("publishing"):',
        "if False:",
        _JOBS + "test_a_job_that_publishes_cannot_be_cancelled",
    ),
    Guard(
        "older rows do not come back unasked",
        OPERATIONS,
        'target.data.get("last_accepted", 0) > job["accepted"] and not force',
        "False",
        _JOBS + "test_a_held_job_lets_others_pass_and_is_then_superseded",
    ),
    Guard(
        "a job that runs is not erased",
        OPERATIONS,
        'raise ConflictError("the job has not ended; cancel it first", code="job_running")',
        "pass",
        _JOBS + "test_erase_leaves_nothing_of_a_job",
    ),
    Guard(
        "rows that a job starts from are not erased",
        OPERATIONS,
        "if job_id in (needed := self.rows_needed()):",
        "if False:",
        _ROWS + "test_a_job_whose_rows_another_starts_from_is_not_erased",
    ),
    Guard(
        "rows that a job starts from are not barred when their time is over",
        SWEEPER,
        'if item.data["id"] in needed:',
        "if False:",
        _ROWS + "test_rows_that_a_waiting_job_starts_from_outlive_their_time",
    ),
    Guard(
        "rows that a job starts from are not forgotten",
        SWEEPER,
        ' if item.data["id"] not in started]',
        "]",
        _ROWS + "test_a_job_that_starts_while_rows_are_being_forgotten_keeps_them",
    ),
    Guard(
        "a copy of a copy needs the rows of the first",
        "shared/services/frozen_needs.py",
        'origins += [job.get("frozen_from"), job.get("source")]',
        "pass",
        _ROWS + "test_rows_that_a_waiting_job_starts_from_outlive_their_time",
    ),
    Guard(
        "rows that are gone are not said to have changed",
        "shared/pipeline/freezing.py",
        "if error.code not in GONE or not is_ours:",
        "if True:",
        _ROWS + "test_a_job_whose_rows_are_gone_says_so",
    ),
    Guard(
        "what cannot be seen to keeps nobody waiting",
        SWEEPER,
        "            postponing.postpone(self._stores.documents, now, job, due, error)\n",
        "",
        _LATER + "test_those_that_cannot_be_seen_to_keep_nobody_waiting",
    ),
    Guard(
        "what will not pass is given up",
        POSTPONING,
        "not passes or ",
        "",
        _LATER + "test_a_look_through_a_connector_that_is_gone_is_given_up_at_once",
    ),
    Guard(
        "what does not pass for a week is given up",
        POSTPONING,
        " or now - began >= GIVEN_UP_AFTER",
        "",
        _LATER + "test_what_may_pass_is_tried_later_and_later_for_a_week",
    ),
    Guard(
        "what was called off is not put off",
        POSTPONING,
        " and found.data.get(due) == job.data[due]",
        "",
        _LATER + "test_a_look_that_somebody_called_off_meanwhile_stays_called_off",
    ),
)
