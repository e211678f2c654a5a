"""Guards of tokens whose signature Cloud Run checked and removed, and of what imitates Cloud Run locally."""

from __future__ import annotations

from tests.campaigns.guards.guard import Guard

AUTH, TOKEN, CONFIG = "shared/api/auth.py", "shared/api/tokens.py", "shared/config.py"
FRONT, GATEWAY = "infra/local/cloud_run.py", "infra/local/forwarding.py"
_TOKENS = "tests/functional/test_unsigned_tokens.py::"
_ACCESS = "tests/functional/test_access.py::"
_CHECKED = _TOKENS + "test_all_but_the_signature_is_still_checked"
_MALFORMED = _TOKENS + "test_a_header_that_is_not_one_token_is_refused"
_LOCAL = "tests/unit/local/test_cloud_run.py::"

FRONTS = (
    Guard(
        "a token without a signature needs Cloud Run in front",
        AUTH,
        "if not self._settings.cloud_run_checks_callers:",
        "if False:",
        _ACCESS + "test_every_route_takes_exactly_its_callers[/ready-forged]",
    ),
    Guard(
        "only Cloud Run's marker stands for a signature",
        TOKEN,
        'return token.count(".") == 2 and token.rpartition(".")[2] == SIGNATURE_REMOVED',
        'return token.count(".") == 2',
        _TOKENS + "test_a_token_with_any_other_signature_is_verified",
    ),
    Guard(
        "the marker is a token's third part and last",
        TOKEN,
        'token.count(".") == 2 and ',
        "",
        _TOKENS + "test_a_token_with_any_other_signature_is_verified",
    ),
    Guard(
        "what Cloud Run checked is who calls",
        TOKEN,
        "(PLAIN, plain) if serverless is None else (SERVERLESS, serverless)",
        "(PLAIN, plain) if plain is not None else (SERVERLESS, serverless)",
        _TOKENS + "test_the_serverless_header_is_who_calls_whatever_the_other_says",
    ),
    Guard(
        "of two tokens without a signature neither is believed",
        TOKEN,
        'if serverless is not None and SIGNATURE_REMOVED in serverless and SIGNATURE_REMOVED in (plain or ""):',
        "if False:",
        _TOKENS + "test_of_two_tokens_without_a_signature_neither_is_believed",
    ),
    Guard("a header is one token", TOKEN, "BEARER.fullmatch(value)", "BEARER.match(value)", _MALFORMED),
    Guard(
        "an empty header is not the developer",
        TOKEN,
        "if value is None:\n",
        "if not value:\n",
        _TOKENS + "test_an_empty_header_is_not_the_developer",
    ),
    Guard(
        "an unsigned token's audience",
        TOKEN,
        'if claims.get("aud") not in audiences:',
        "if False:",
        _CHECKED,
    ),
    Guard(
        "an unsigned token's times are numbers",
        TOKEN,
        "if type(issued) is not int or type(expires) is not int:",
        "expires = int(expires) if isinstance(expires, str) else expires\n    if issued is None or expires is None:",
        _CHECKED,
    ),
    Guard(
        "an unsigned token expires",
        TOKEN,
        "<= now <= expires + CLOCK_SKEW_S:",
        "<= now:",
        _CHECKED,
    ),
    Guard(
        "an unsigned token is not of the future",
        TOKEN,
        "if not issued - CLOCK_SKEW_S <= now <= expires",
        "if not now <= expires",
        _CHECKED,
    ),
    Guard(
        "CLOUD_RUN_CHECKS_CALLERS counts only on Cloud Run",
        CONFIG,
        ' and (local or bool(env.get("K_SERVICE")))',
        "",
        _TOKENS + "test_the_setting_counts_only_where_cloud_run_is_in_front",
    ),
    Guard(
        "no public invoker where unsigned tokens are believed",
        "infra/check/policies.py",
        "if believing and (open_to := ",
        "if False and (open_to := ",
        "tests/unit/infra/test_policies.py::test_a_public_invoker_is_found_where_unsigned_tokens_are_believed",
    ),
    Guard(
        "every function believes what Cloud Run checked",
        "infra/check/policies.py",
        "for address in sorted(set(functions) - believing):",
        "for address in ():",
        "tests/unit/infra/test_policies.py::test_a_function_that_believes_no_token_of_cloud_runs_is_found",
    ),
    Guard(
        "the local front checks signatures",
        FRONT,
        "jwt.decode(",
        '(lambda token, **_: __import__("google.auth.jwt", fromlist=["decode"]).decode(token, verify=False))(',
        _LOCAL + "test_a_token_that_is_not_of_the_local_cloud_is_refused",
    ),
    Guard(
        "the local front removes the signature",
        FRONT,
        """{token.rpartition('.')[0]}.{REMOVED}""",
        "{token}",
        _LOCAL + "test_the_function_gets_the_token_without_its_signature",
    ),
    Guard(
        "the local front knows who is bound",
        FRONT,
        'if not (function == "refresh" or is_robot == (function == "export_worker")):',
        "if False:",
        _LOCAL + "test_a_caller_without_the_binding_is_refused",
    ),
    Guard(
        "the gateway passes Cloud Run's check",
        GATEWAY,
        "self.cloud_run.admitted(function, self._request_headers())",
        "self._request_headers()",
        "tests/unit/local/test_gateway.py::test_a_forged_token_does_not_reach_the_function",
    ),
)
