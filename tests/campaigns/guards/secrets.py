"""Guards of credentials, and of the audit log."""

from __future__ import annotations

from tests.campaigns.guards.access import CONNECTORS
from tests.campaigns.guards.guard import Guard

REDACTION, CREDENTIALS, AUDIT = "shared/redaction.py", "shared/services/credentials.py", "shared/services/audit.py"
_FORMS = "tests/unit/test_redaction.py::test_every_form_of_a_remembered_secret_is_removed"
_ESCAPED = "tests/unit/test_redaction.py::test_a_secret_is_removed_however_it_is_escaped"
_CANARIES, _SWEEP, _AUDIT = (
    "tests/functional/test_canaries.py::",
    "tests/functional/test_credentials.py::",
    "tests/functional/test_audit.py::",
)
ACCOUNT = "shared/connectors/google_sheets/account.py"
_KEYS = "tests/unit/connectors/test_google_sheets_account.py::"
_REGISTER = "tests/functional/test_connectors.py::"
_LOST = "tests/functional/test_credentials.py::test_a_database_that_lost_its_documents_keeps_its_credentials_until_they_are_restored"
_COMMIT = _AUDIT + "test_an_entry_is_written_in_the_commit_of_the_change_that_it_tells_of"

SECRETS = (
    Guard(
        "no secret is in Firestore",
        "shared/services/connector_bodies.py",
        "secrets = {field: config.pop(field) for",
        "secrets = {field: config[field] for",
        _REGISTER + "test_register_keeps_the_secret_in_secret_manager_only",
    ),
    Guard(
        "credentials outlive the loss of all documents",
        CREDENTIALS,
        "if not used or is_restoring(",
        "if is_restoring(",
        _LOST,
    ),
    Guard(
        "credentials outlive a sweep in the middle of a restore",
        CREDENTIALS,
        "if not used or is_restoring(self._stores.documents):",
        "if not used:",
        _LOST,
    ),
    Guard(
        "no digest of a secret is kept with an idempotency key",
        "shared/api/connectors.py",
        'call.idempotency({"name": call.body.name, "config": config, "reference": call.body.credentials_secret})',
        "call.idempotency()",
        "tests/functional/test_contract.py::test_an_idempotency_key_of_register_keeps_nothing_of_a_secret",
    ),
    Guard(
        "no digest of a secret is in the audit log",
        "shared/audit.py",
        "redact(canonical(content)).encode()",
        "canonical(content).encode()",
        _AUDIT + "test_a_secret_in_what_is_digested_is_removed_first",
    ),
    Guard(
        "a note of the audit log is redacted",
        "shared/audit.py",
        "redact(note)",
        "note",
        _AUDIT + "test_a_secret_in_a_note_is_removed_first",
    ),
    Guard(
        "redaction knows a secret as it is",
        REDACTION,
        "            value,\n            as_form,\n",
        "            as_form,\n",
        _FORMS,
    ),
    Guard("redaction knows a secret in JSON", REDACTION, r"""|\\[\"\\/bfnrt]",""", '",', _ESCAPED),
    Guard("redaction knows a secret in JSON by numbers", REDACTION, r"(?:\\u[0-9a-fA-F]{4})+|", "", _ESCAPED),
    Guard("redaction knows a secret in JSON in JSON", REDACTION, "DEEPEST = 3 ", "DEEPEST = 1 ", _ESCAPED),
    Guard("redaction knows a secret in a URL", REDACTION, "(?:%[0-9a-fA-F]{2})+|", "", _ESCAPED),
    Guard(
        "redaction knows a URL's escapes in either case", REDACTION, "(?:%[0-9a-fA-F]{2})", "(?:%[0-9A-F]{2})", _ESCAPED
    ),
    Guard("redaction knows JSON's escapes in either case", REDACTION, "u[0-9a-fA-F]{4}", "u[0-9a-f]{4}", _ESCAPED),
    Guard(
        "redaction takes no letter behind a backslash for an escape that is none",
        REDACTION,
        r"""\\[\"\\/bfnrt]",
)""",
        r"""\\[\"\\/bfnrt]", re.IGNORECASE
)""",
        "tests/unit/test_redaction.py::test_any_text_is_redacted_and_only_secrets_are",
    ),
    Guard("redaction knows a secret in a form", REDACTION, "            as_form,\n", "", _FORMS),
    Guard(
        "redaction knows a line of a key",
        REDACTION,
        "            *_secret_lines(value),\n",
        "",
        "tests/unit/test_redaction.py::test_a_line_of_a_key_is_removed_alone",
    ),
    Guard(
        "no ID token is shown",
        REDACTION,
        "TOKEN.sub(MASK, _known.redact(text))",
        "_known.redact(text)",
        "tests/unit/test_redaction.py::test_no_token_of_anybody_is_shown",
    ),
    Guard("redaction knows a secret in Base64", REDACTION, "            *_base64_forms(value.encode()),\n", "", _FORMS),
    Guard(
        "redaction knows a secret inside of Base64",
        REDACTION,
        "for skip in range(3):",
        "for skip in range(1):",
        "tests/unit/test_redaction.py::test_base64_of_a_longer_text_shows_nothing_of_the_secret",
    ),
    Guard(
        "log lines are redacted",
        "shared/telemetry.py",
        'redact(json.dumps(line, default=str, separators=(",", ":")))',
        'json.dumps(line, default=str, separators=(",", ":"))',
        _CANARIES + "test_a_log_line_shows_no_secret_wherever_it_stands",
    ),
    Guard(
        "refusals of the framework are redacted",
        "shared/api/problems.py",
        '"detail": redact(detail),',
        '"detail": detail,',
        _CANARIES + "test_a_refusal_repeats_no_secret_of_the_request",
    ),
    Guard(
        "errors are redacted before they are kept",
        "shared/errors.py",
        "self.message = redact(message)",
        "self.message = message",
        _CANARIES + "test_a_vendor_that_quotes_a_secret_puts_it_into_no_record_of_a_job",
    ),
    Guard(
        "details of errors are redacted",
        "shared/errors.py",
        "{key: redact_value(value) for",
        "{key: value for",
        _CANARIES + "test_details_of_an_error_show_no_secret",
    ),
    Guard(
        "a vendor's reason is redacted before it is kept",
        "shared/services/refresh_ends.py",
        "told = redact(message)",
        "told = message",
        _CANARIES + "test_a_reason_of_the_vendor_puts_no_secret_into_the_record_of_a_refresh",
    ),
    Guard(
        "what a connection test found is redacted",
        "shared/connectors/_checks.py",
        "redact(step())",
        "step()",
        _CANARIES + "test_what_a_connection_test_found_shows_no_secret",
    ),
    Guard(
        "a name that Secret Manager does not take is refused in words",
        "shared/stores/secret_manager.py",
        "except google.InvalidArgument as exc:  # the name",
        "except google.Aborted as exc:  # the name",
        "tests/conformance/stores/test_stores.py::test_a_name_that_secret_manager_does_not_take_is_one_without_credentials_and_is_not_"
        "repeated",
    ),
    Guard(
        "a reference names a pinned version",
        "shared/services/connector_bodies.py",
        "/versions/[1-9][0-9]{0,17}",
        "/versions/(?:latest|[1-9][0-9]{0,17})",
        _REGISTER + "test_register_refuses_a_reference_that_is_no_pinned_version",
    ),
    Guard(
        "a secret is known before it is kept",
        CONNECTORS,
        "        remember(dict(secrets))\n",
        "",
        _CANARIES + "test_a_secret_is_known_before_it_is_kept",
    ),
    Guard(
        "a secret is known once it is read",
        CONNECTORS,
        "        remember(secrets)\n",
        "",
        _CANARIES + "test_a_secret_that_somebody_else_wrote_is_known_once_it_is_read",
    ),
    Guard(
        "credentials come in one way",
        CONNECTORS,
        "            if secrets:\n                raise InvalidRequestError(",
        "            if False:\n                raise InvalidRequestError(",
        _REGISTER + "test_register_takes_credentials_in_one_way_only",
    ),
    Guard(
        "a secret that its owner named is not deleted",
        CONNECTORS,
        'if present.data.get("owns_credentials"):',
        "if True:",
        _REGISTER + "test_deleting_a_connector_leaves_a_secret_that_its_owner_named",
    ),
    Guard(
        "a key of Google gets its tokens at Google",
        ACCOUNT,
        'if info.get("token_uri") not in TOKEN_URIS:',
        "if False:",
        _KEYS + "test_a_key_that_asks_elsewhere_than_at_google_for_tokens_is_refused",
    ),
    Guard(
        "a key of Google is a service account's",
        ACCOUNT,
        ' or info.get("type") != "service_account"',
        "",
        _KEYS + "test_what_is_no_service_accounts_key_is_refused",
    ),
    Guard(
        "a connector's secret goes with it",
        CONNECTORS,
        "            delete_unless_named(self._stores, self._secret_id(name))\n",
        "            pass\n",
        _SWEEP + "test_deleting_a_connector_deletes_its_credentials",
    ),
    Guard(
        "a refused change leaves no version",
        CONNECTORS,
        '            if "credentials" in fields:\n                self._stores.secrets.destroy(fields["credentials"])\n',
        "",
        _SWEEP + "test_a_change_that_is_refused_leaves_no_credentials",
    ),
    Guard(
        "a register that lost a race leaves no version",
        CONNECTORS,
        "            if is_ours:\n                self._stores.secrets.destroy(version)\n",
        "",
        _SWEEP + "test_a_register_that_loses_a_race_leaves_no_credentials",
    ),
    Guard(
        "unused versions are swept",
        "shared/api/internal.py",
        "destroyed=call.services.credentials.sweep()",
        "destroyed=0",
        _SWEEP + "test_credentials_of_a_register_that_fails_later_are_gone_within_the_hour",
    ),
    Guard(
        "a version in use is not swept",
        CREDENTIALS,
        'return {_place(data["credentials"]) for data in found} | {',
        "return {",
        _SWEEP + "test_a_rotated_version_serves_running_jobs_for_an_hour",
    ),
    Guard(
        "a version is in use under either name of its project",
        CREDENTIALS,
        'return version.partition("/secrets/")[2]',
        "return version",
        _SWEEP + "test_a_version_named_with_the_projects_number_is_in_use_too",
    ),
    Guard(
        "a secret that another connector names is not deleted with its own",
        CREDENTIALS,
        'if not any(place.partition("/")[0] == secret_id for place in used):',
        "if True:",
        _SWEEP + "test_a_secret_that_another_connector_names_outlives_its_own",
    ),
    Guard(
        "a new version is not swept",
        CREDENTIALS,
        "if version.created_at < before",
        "if True",
        _SWEEP + "test_credentials_of_a_register_that_fails_later_are_gone_within_the_hour",
    ),
    Guard(
        "a rotated version serves for an hour",
        CREDENTIALS,
        'former.append({"version": document["credentials"], "until": now})',
        "pass",
        _SWEEP + "test_a_rotated_version_serves_running_jobs_for_an_hour",
    ),
    Guard(
        "only our own secrets are swept",
        CREDENTIALS,
        'self._stores.secrets.versions(f"{self._prefix}-{kind}-")',
        'self._stores.secrets.versions("")',
        _SWEEP + "test_secrets_of_others_are_not_touched",
    ),
    Guard(
        "what a run leaves is searched",
        "tests/conftest.py",
        "if session.config.stash[LEFT] and exitstatus == pytest.ExitCode.OK:",
        "if False:",
        "tests/unit/local/test_canaries.py::test_a_run_of_tests_that_leaves_or_prints_a_secret_fails",
    ),
    Guard(
        "what a test prints is searched",
        "tests/conftest.py",
        "        if leaked:\n",
        "        if False:\n",
        "tests/unit/local/test_canaries.py::test_a_run_of_tests_that_leaves_or_prints_a_secret_fails",
    ),
    Guard(
        "what a test takes of its output is searched",
        "tests/conftest.py",
        '        request.node.add_report_section("call", "stdout taken", taken.out + taken.err)\n',
        "",
        "tests/unit/local/test_canaries.py::test_a_run_of_tests_that_leaves_or_prints_a_secret_fails",
    ),
    Guard(
        "the search knows Base64",
        "infra/local/canaries.py",
        "for before in range(3):",
        "for before in range(0):",
        "tests/unit/local/test_canaries.py::test_a_secret_is_looked_for_in_each_of_its_spellings",
    ),
)

AUDITED = (
    Guard(
        "a registration is audited",
        CONNECTORS,
        'audit.record(tx, now, "connector.register", f"connectors/{name}", after=_identity(config, version))',
        "pass",
        _AUDIT + "test_every_change_and_run_leaves_one_entry",
    ),
    Guard(
        "a registration is audited in its transaction",
        CONNECTORS,
        'audit.record(tx, now, "connector.register", f"connectors/{name}", after=_identity(config, version))',
        'self._stores.documents.transact(lambda other: audit.record(other, now, "connector.register", f"connectors/{name}"))',
        _COMMIT,
    ),
    Guard(
        "the start of a job is audited in its transaction",
        "shared/services/exports.py",
        'audit.record(tx, now, "job.start", f"export_jobs/{job_id}", after=record, actor=caller)',
        'self._stores.documents.transact(lambda other: audit.record(other, now, "job.start", f"export_jobs/{job_id}", actor=caller))',
        _COMMIT,
    ),
    Guard(
        "an entry names who and in which request",
        "shared/api/dispatch.py",
        "        audit.acting(caller.email, request_id)\n",
        "",
        _AUDIT + "test_an_entry_says_who_what_in_which_request_and_how_it_ended",
    ),
    Guard(
        "a seal fits its entries",
        AUDIT,
        'if problem is None and _hash(seal.data["previous"], entries) != seal.data["hash"]:',
        "if False:",
        _AUDIT + "test_the_check_finds_what_was_done_to_the_log",
    ),
    Guard(
        "a seal follows the one before",
        AUDIT,
        "problem = _gap(previous, seal.data)",
        "problem = None",
        _AUDIT + "test_a_seal_that_was_made_anew_with_its_entries_does_not_fit_the_next",
    ),
    Guard(
        "a seal's hash is over the hash before",
        AUDIT,
        "hashlib.sha256(previous.encode())",
        "hashlib.sha256()",
        _AUDIT + "test_a_seal_that_was_made_anew_with_its_entries_does_not_fit_the_next",
    ),
    Guard(
        "entries are sealed once they have settled",
        AUDIT,
        "new_id(self._clock.now() - SETTLED)",
        "new_id(self._clock.now())",
        _AUDIT + "test_entries_are_sealed_once_they_have_settled",
    ),
    Guard(
        "sealed entries are logged",
        AUDIT,
        'log_event("audit", **{name',
        'str(**{"object": ""}) or dict(**{name',
        _AUDIT + "test_sealed_entries_and_seals_are_logged",
    ),
)
