"""Guards of where jobs and refreshes lead: to what they were accepted for, not to what their connector or schedule is by now."""

from tests.campaigns.guards.guard import Guard

_MOVED, _TURNS = "tests/functional/test_moved_refreshes.py::", "tests/functional/test_turns.py::"
_ENDS = "tests/functional/test_ends.py::"
_REPLAYS = "tests/functional/test_replays.py::"
_APPLY = "tests/functional/test_apply.py::"
WAYS_FILE, FOLLOWING = "shared/services/refresh_ways.py", "shared/services/refresh_following.py"
CONFIGURATION = "shared/services/configuration.py"
_GOES_ON = _MOVED + "test_one_that_runs_goes_on_as_it_was_started_with_the_secret_of_that_place"

WAYS = (
    Guard(
        "a refresh keeps what it was started through",
        FOLLOWING,
        '"started_through": way.kept()',
        "",
        _GOES_ON,
    ),
    Guard(
        "a refresh keeps its configuration",
        WAYS_FILE,
        'KEPT = ("config", "credentials")',
        'KEPT = ("credentials",)',
        _GOES_ON,
    ),
    Guard(
        "a refresh keeps its credentials", WAYS_FILE, 'KEPT = ("config", "credentials")', 'KEPT = ("config",)', _GOES_ON
    ),
    Guard(
        "a refresh whose connector moved is not started",
        FOLLOWING,
        "                if way.has_moved:\n                    raise not_started(run)\n",
        "",
        _MOVED + "test_one_that_was_not_started_yet_is_not_started_elsewhere",
    ),
    Guard(
        "a refresh whose connector moved is not started again",
        FOLLOWING,
        "        if way.has_moved:\n            raise not_started_again(run, LONGEST_POLL_S)\n",
        "",
        _MOVED + "test_one_whose_start_got_no_answer_is_looked_for_and_not_started_again",
    ),
    Guard(
        "a refresh that kept no way is said to be lost",
        WAYS_FILE,
        "if kept is None or not is_the_same:",
        "if not is_the_same:",
        _MOVED + "test_one_of_an_earlier_release_that_kept_no_way_is_said_to_be_lost",
    ),
    Guard(
        "a refresh is not followed through another connector of its name",
        WAYS_FILE,
        "if kept is None or not is_the_same:",
        "if kept is None:",
        _MOVED + "test_one_whose_connector_was_made_anew_and_leads_elsewhere_is_said_to_be_lost",
    ),
    Guard(
        "a job whose connector leads elsewhere touches nothing",
        "shared/services/connectors.py",
        '        document = self.get(job["connector_name"])\n        self._require_target(document, job)\n',
        '        document = self.get(job["connector_name"])\n',
        _TURNS + "test_a_job_whose_connector_leads_elsewhere_by_now_touches_nothing",
    ),
    Guard(
        "rejects are replayed to the target of their job",
        "shared/services/rejects.py",
        'if key != job["target_key"]:',
        "if False:",
        _REPLAYS + "test_rejects_are_not_replayed_where_the_connector_leads_by_now",
    ),
    Guard(
        "a key that was delivered is doubled in a replay",
        "shared/pipeline/preparing/prepare.py",
        "check.add_delivered(self._checker.schema, delivered.tables(0, BATCH_ROWS))",
        "pass",
        _REPLAYS + "test_a_key_that_was_delivered_is_doubled_still_when_the_rows_left_out_are_replayed",
    ),
    Guard(
        "a retry of a replay knows the keys that were delivered",
        "shared/services/job_operations.py",
        '    "delivered",\n',
        "",
        _REPLAYS + "test_a_retry_of_a_failed_replay_keeps_the_delivered_keys_away",
    ),
    Guard(
        "a replay of a replay knows the keys of both",
        "shared/services/rejects.py",
        '*job.get("delivered", ()), ',
        "",
        _REPLAYS + "test_a_replay_of_a_replay_keeps_away_the_keys_of_both",
    ),
    Guard(
        "a job is retried once",
        "shared/services/job_operations.py",
        "                _refuse_delivered(tx, job)\n",
        "                pass\n",
        _ENDS + "test_the_rows_of_a_failed_job_are_retried_once_however_often_that_is_asked_for",
    ),
    Guard(
        "a publish that arrives while its staging is removed is a success",
        "shared/pipeline/delivery.py",
        "if is_sent and delivery.is_published():  # it arrived",
        "if False:  # it arrived",
        _ENDS + "test_a_publish_that_lands_while_its_staging_is_removed_is_a_success",
    ),
    Guard(
        "a cancel counts before a hold",
        "shared/pipeline/lease.py",
        " and not status.is_final:",
        ' and "status" not in fields:',
        _ENDS + "test_a_cancel_counts_though_the_job_is_to_be_held_next",
    ),
    Guard(
        "what nobody knows the outcome of is not appended again",
        "shared/services/job_operations.py",
        '.get("code") == "outcome_unknown" and',
        '.get("code") == "never" and',
        _ENDS + "test_a_job_whose_target_cannot_be_asked_what_became_of_its_publish_ends_after_a_day_and_says_so",
    ),
    Guard(
        "a repair goes to the target of its job",
        "shared/services/job_operations.py",
        'if repair and key != job["target_key"]:',
        "if False:",
        "tests/functional/test_repairs.py::test_nothing_is_repaired_where_the_connector_leads_by_now",
    ),
    Guard(
        "a schedule is compared as it would be stored",
        CONFIGURATION,
        '        request = self._schedules.checked(request, found.data["id"])\n',
        "",
        _APPLY + "test_a_schedule_that_refreshes_after_its_export_is_unchanged_when_it_is",
    ),
    Guard(
        "a schedule that lost its name is compared as it would be stored",
        CONFIGURATION,
        '_as_request(one) == self._schedules.checked(request, one.data["id"])',
        "_as_request(one) == request",
        _APPLY + "test_one_that_refreshes_after_its_export_and_lost_its_name_is_taken_up",
    ),
)
