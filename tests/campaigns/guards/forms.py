"""Guards of what a value may be, so that no store refuses it later and none is taken for another."""

from tests.campaigns.guards.guard import Guard

BODIES, OUTGOING = "shared/services/connector_bodies.py", "shared/connectors/_outgoing.py"
_REGISTER = "tests/functional/test_connectors.py::"
_SSRF = "tests/unit/connectors/test_outgoing.py::"
_REJECTS = "tests/functional/test_mapping.py::test_rejects_are_listed_in_pages"
_LINE_FEED = "tests/functional/test_contract.py::test_no_pattern_takes_a_last_line_feed_that_its_published_form_refuses"
_PASTED, _STORED = "tests/functional/test_pasted.py::", "tests/functional/test_stored_forms.py::"

FORMS = (
    Guard(
        "what the sender wrote is told by a hint alone",
        "shared/redaction.py",
        "return text if len(text) < SHORTEST else",
        "return text if text else",
        _PASTED + "test_what_was_pasted_is_neither_told_nor_logged",
    ),
    Guard(
        "what msgspec quotes of the sender's is told by a hint alone",
        "shared/errors.py",
        "    said = _QUOTED.sub(",
        "    _QUOTED.sub(",
        _PASTED + "test_what_was_pasted_is_neither_told_nor_logged",
    ),
    Guard(
        "a text of a configuration is one line",
        BODIES,
        "    require_lines(config)\n",
        "",
        _STORED + "test_a_text_of_a_configuration_is_one_line",
    ),
    Guard(
        "an expression is one line",
        "shared/services/schedules.py",
        '        require_lines({"cron_expression": request.cron_expression})\n',
        "",
        _STORED + "test_an_expression_is_one_line",
    ),
    Guard(
        "a configuration that is stored in no valid form is refused in words",
        BODIES,
        "        raise TargetError(not_of_the_form(exc, what).message) from exc",
        "        raise",
        _STORED + "test_a_job_through_a_connector_that_is_stored_in_no_valid_form_fails_in_words",
    ),
    Guard(
        "what is no reference is not repeated",
        BODIES,
        '"credentials_secret names no version',
        'f"{reference} names no version',
        _REGISTER + "test_register_refuses_a_reference_that_is_no_pinned_version",
    ),
    Guard(
        "credentials fit into a version",
        BODIES,
        "if len(payload) > MAX_PAYLOAD_BYTES:",
        "if False:",
        _REGISTER + "test_credentials_that_secret_manager_does_not_keep_are_refused",
    ),
    Guard(
        "site-local and documentation addresses are not public",
        OUTGOING,
        "(*GOOGLE_APIS, *NOT_YET_KNOWN)",
        "GOOGLE_APIS",
        _SSRF + "test_an_address_that_is_not_everybodys_is_not_public",
    ),
    Guard(
        "the port 0 is no default",
        OUTGOING,
        "port = 443 if parts.port is None else parts.port",
        "port = parts.port or 443",
        _SSRF + "test_a_url_of_another_form_is_refused",
    ),
    Guard(
        "a page token of rejects belongs to its job",
        "shared/services/rejects.py",
        'made_for_listing("rejects", job_id, info)',
        'made_for_listing("rejects")',
        _REJECTS,
    ),
    Guard(
        "a page of rejects begins behind a line",
        "shared/services/rejects.py",
        'if handle.read(1) == b"\\n":',
        "if handle.read(1):",
        _REJECTS,
    ),
    Guard("a pattern ends at the end", "shared/models/_base.py", 'END = r"\\Z"', 'END = "$"', _LINE_FEED),
    Guard(
        "a page whose name leads here is not this machine's",
        "shared/api/auth.py",
        "if host not in LOOPBACK:",
        "if False:",
        "tests/functional/test_access.py::test_a_name_that_was_made_to_lead_here_is_not_the_developers",
    ),
    Guard(
        "the local origin answers to its own names",
        "infra/local/forwarding.py",
        "if not self._is_asked_by_name():",
        "if False:",
        "tests/unit/local/test_gateway.py::test_a_name_that_was_made_to_lead_here_is_refused",
    ),
    Guard(
        "half a character in YAML is no text",
        "shared/api/yaml_body.py",
        '.encode("utf-16-le", "surrogatepass").decode("utf-16-le")',
        "",
        "tests/functional/test_apply.py::test_other_yaml_is_refused_with_its_place",
    ),
)
