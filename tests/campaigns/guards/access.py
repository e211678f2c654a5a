"""Guards of the contract and of who may do what."""

# ruff: noqa: E501 - a table: one guard a line

from __future__ import annotations

from tests.campaigns.guards.guard import Guard

AUTH, CONFIG, DISPATCH, ROUTES = (
    "shared/api/auth.py",
    "shared/config.py",
    "shared/api/dispatch.py",
    "shared/api/routes.py",
)
RECORDS, EXPORTS, CONNECTORS = (
    "shared/services/records.py",
    "shared/services/exports.py",
    "shared/services/connectors.py",
)
_ACCESS, _CONTRACT, _EDGE = (
    "tests/functional/test_access.py::",
    "tests/functional/test_contract.py::",
    "tests/functional/test_edge.py::",
)
_TOKENS = "tests/functional/test_id_tokens.py::"
_MATRIX = _ACCESS + "test_every_route_takes_exactly_its_callers"
_GCLOUD = _ACCESS + "test_gclouds_audience_is_for_people_on_their_own_routes"
_OTHERS = _TOKENS + "test_a_token_for_another_or_of_another_is_refused"

CONTRACT = (
    Guard(
        "an idempotency key is bound to its body",
        RECORDS,
        'if found.data["digest"] != self.digest:',
        "if False:",
        "tests/functional/test_exports.py::test_the_same_idempotency_key_gives_the_same_job_and_another_body_is_refused",
    ),
    Guard(
        "an idempotency key is bound to its path",
        DISPATCH,
        'used_for = {"path": dict(self.path),',
        'used_for = {"path": {},',
        "tests/functional/test_job_operations.py::test_an_idempotency_key_belongs_to_the_job_that_it_was_used_on",
    ),
    Guard(
        "an idempotency key is its caller's own",
        RECORDS,
        r'f"{self.caller}\n{self.route}\n{self.key}"',
        r'f"{self.route}\n{self.key}"',
        _CONTRACT + "test_an_idempotency_key_is_its_callers_own",
    ),
    Guard(
        "a connector changes only as it was read",
        "shared/services/publish_holds.py",
        "if version is not None and found.version != version:",
        "if False:",
        "tests/functional/test_connectors.py::test_change_needs_if_match_and_refuses_a_stale_one",
    ),
    Guard(
        "a connector changes only with If-Match",
        "shared/api/connectors.py",
        'version = call.if_match()\n    if version is None:\n        raise PreconditionRequiredError("send If-Match with the ETag that you read")',
        'version = call.if_match() or "0.0"',
        "tests/functional/test_connectors.py::test_change_needs_if_match_and_refuses_a_stale_one",
    ),
    Guard(
        "a connector is deleted only as it was read",
        "shared/api/connectors.py",
        "if version is not None and version != present:",
        "if False:",
        "tests/functional/test_connectors.py::test_delete_with_a_stale_if_match_deletes_nothing",
    ),
    Guard(
        "a connector that changes meanwhile is not deleted",
        "shared/api/connectors.py",
        "force=force, version=version)",
        "force=force, version=None)",
        "tests/functional/test_connectors.py::test_a_connector_that_changed_while_it_was_deleted_is_kept",
    ),
    Guard(
        "a table changes only as it was read",
        "shared/services/tables.py",
        "if version is not None and (found is None or found.version != version):",
        "if False:",
        "tests/functional/test_tables.py::test_an_etag_guards_a_change_and_a_deletion",
    ),
    Guard(
        "a schedule changes only as it was read",
        "shared/services/schedules.py",
        'if revision is not None and revision != str(found.data["revision"]):',
        "if False:",
        "tests/functional/test_schedules.py::test_a_change_needs_the_revision_that_was_read",
    ),
    Guard(
        "a schedule changes only with If-Match",
        "shared/api/schedules.py",
        'if revision is None:\n        raise PreconditionRequiredError("send If-Match with the ETag that you read")',
        'if revision is None:\n        revision = "0"',
        "tests/functional/test_schedules.py::test_a_change_needs_the_revision_that_was_read",
    ),
    Guard(
        "a page token belongs to its filter",
        RECORDS,
        "if found_filters != filters:",
        "if False:",
        "tests/functional/test_audit.py::test_a_page_token_belongs_to_its_filter",
    ),
    Guard(
        "a page token leads into its own listing",
        RECORDS,
        "find(documents, query.collection, last_id) is None",
        "documents.get(start_after) is None",
        _CONTRACT + "test_a_page_token_that_leads_into_another_collection_is_refused",
    ),
    Guard(
        "a page token's place is still there",
        RECORDS,
        "if start_after is not None and find(documents, query.collection, last_id) is None:",
        "if False:",
        _CONTRACT + "test_a_page_token_whose_item_is_gone_is_refused",
    ),
    Guard(
        "?wait= ends",
        EXPORTS,
        "min(seconds, self._settings.longest_wait_s)",
        "seconds",
        _CONTRACT + "test_wait_ends_at_the_longest",
    ),
    Guard(
        "?wait= holds a quarter of the threads",
        EXPORTS,
        "max(1, settings.threads // 4)",
        "settings.threads",
        _CONTRACT + "test_a_quarter_of_the_threads_may_wait_and_others_are_answered_at_once",
    ),
    Guard(
        "?wait= reads once a second",
        EXPORTS,
        "POLL_S = 1.0",
        "POLL_S = 0.1",
        _CONTRACT + "test_a_waiting_request_reads_the_job_at_most_once_a_second",
    ),
    Guard(
        "the released contract: a member",
        "shared/models/job.py",
        "    record_count:",
        "    rows_count:",
        "tests/functional/test_released.py::test_the_released_contract_is_kept",
    ),
    Guard(
        "the released contract: a role",
        ROUTES,
        'Route("POST", f"{API}/export", "export", OPERATE',
        'Route("POST", f"{API}/export", "export", ADMIN',
        "tests/functional/test_released.py::test_the_released_contract_is_kept",
    ),
    Guard(
        "every code has a page",
        "shared/api/problem_codes.py",
        "| `in_use` | jobs run or schedules point at the connector; wait, or use `?force=true` |\n",
        "",
        "tests/unit/test_readme.py::test_the_problem_pages_say_what_the_readme_says",
    ),
    Guard(
        "what the framework raises has a code of ours",
        DISPATCH,
        'code = FRAMEWORK_CODES.get(status, "invalid_request" if status < 500 else "internal")',
        'code = f"http_{status}"',
        _EDGE + "test_what_the_framework_raises_has_a_code_of_ours",
    ),
    Guard(
        "a fault of ours shows nothing of its inside",
        DISPATCH,
        'f"a fault of this service; report it with the request id {request_id}"',
        "repr(error)",
        _EDGE + "test_a_fault_of_ours_is_a_problem_without_its_inside",
    ),
    Guard(
        "the docs page loads nothing",
        "shared/api/docs.py",
        "<style>{STYLE}</style>",
        "<script src='//cdn.example/x.js'></script>",
        _CONTRACT + "test_the_docs_page_shows_every_route_and_loads_nothing",
    ),
)

ACCESS = (
    Guard(
        "a role is high enough for the route",
        AUTH,
        "if role is None or RANKS[role] < RANKS[route.permission]:",
        "if role is None:",
        _MATRIX + "[/api/bi-connectors/audit:verify-viewer]",
    ),
    Guard(
        "a stranger has no role",
        AUTH,
        "role = next((role for role, members in groups if email in members), None)",
        "role = next((role for role, members in groups if email in members), Permission.VIEWER)",
        _MATRIX + "[/openapi.json-stranger]",
    ),
    Guard(
        "a token's signature",
        AUTH,
        "id_token.verify_token(",
        '(lambda token, *_, **__: __import__("google.auth.jwt", fromlist=["decode"]).decode(token, verify=False))(',
        _TOKENS + "test_a_token_of_another_key_is_refused",
    ),
    Guard("a token's audience", AUTH, "audience=list(audiences),", "audience=None,", _OTHERS),
    Guard(
        "gcloud's audience is not for internal routes",
        AUTH,
        "email = self._email(authorization, [self._audience])",
        "email = self._email(authorization, [self._audience, GCLOUD_AUDIENCE])",
        _GCLOUD + "[person-POST /internal/sweep]",
    ),
    Guard(
        "gcloud's audience is not for service accounts",
        AUTH,
        'if claims.get("aud") != self._audience and email.endswith(SERVICE_ACCOUNTS):',
        "if False:",
        _GCLOUD + "[robot-GET /ready]",
    ),
    Guard(
        "the audience is the function's own URL",
        DISPATCH,
        "Authenticator(services.settings, services.settings.urls[self.name])",
        'Authenticator(services.settings, services.settings.urls["register"])',
        _TOKENS + "test_each_function_takes_tokens_for_its_own_url_alone",
    ),
    Guard("a token's issuer", AUTH, 'if claims.get("iss") not in ISSUERS:', "if False:", _OTHERS),
    Guard("a token's e-mail is verified", AUTH, 'not claims.get("email_verified") or ', "", _OTHERS),
    Guard("a token has an e-mail", AUTH, ' or not claims.get("email"):', ":", _OTHERS),
    Guard(
        "internal routes are for one service account",
        AUTH,
        "if email != expected.lower():",
        "if False:",
        _MATRIX + "[/internal/sweep-stranger]",
    ),
    Guard(
        "Cloud Tasks and Cloud Scheduler are two callers",
        AUTH,
        "if route.permission is Permission.TASKS\n",
        "if True\n",
        _MATRIX + "[/internal/sweep-scheduler]",
    ),
    Guard(
        "without administrators nobody may",
        AUTH,
        "if not settings.admins:",
        "if False:",
        _EDGE + "test_without_administrators_everything_but_health_is_403",
    ),
    Guard(
        "the developer's identity is local",
        AUTH,
        "if authorization is None and self._settings.is_local and",
        "if authorization is None and",
        _MATRIX + "[/ready-no token]",
    ),
    Guard(
        "the developer's identity is for people's routes",
        AUTH,
        "self._settings.is_local and route.permission in RANKS:",
        "self._settings.is_local:",
        _ACCESS + "test_locally_a_missing_token_is_the_developer_but_a_wrong_one_is_refused",
    ),
    Guard(
        "the developer's identity is for no page of another origin",
        AUTH,
        "if origin is not None and urlsplit(origin).hostname not in LOOPBACK:",
        "if False:",
        _ACCESS + "test_a_page_of_another_origin_cannot_use_the_developers_identity",
    ),
    Guard(
        "ENVIRONMENT=local is refused with K_SERVICE",
        CONFIG,
        'if local and env.get("K_SERVICE"):',
        "if False:",
        _EDGE + "test_local_relaxations_are_refused_on_google_cloud",
    ),
    Guard(
        "emulators are for local use",
        CONFIG,
        "if stray:",
        "if False:",
        _EDGE + "test_local_relaxations_are_refused_on_google_cloud",
    ),
    Guard(
        "a permission taken out of a route, as callers meet it",
        ROUTES,
        'Route("GET", API, "register", VIEW,',
        'Route("GET", API, "register", None,',
        _MATRIX + "[/api/bi-connectors-viewer]",
    ),
    Guard(
        "a permission taken out of a route",
        ROUTES,
        'Route("GET", "/ready", "*", VIEW,',
        'Route("GET", "/ready", "*", None,',
        _ACCESS + "test_no_route_is_without_a_permission",
    ),
    Guard(
        "a route made public",
        ROUTES,
        'Route("GET", f"{API}/audit", "register", ADMIN,',
        'Route("GET", f"{API}/audit", "register", Permission.PUBLIC,',
        _ACCESS + "test_no_route_is_without_a_permission",
    ),
    Guard(
        "an internal route for people",
        ROUTES,
        '"export_worker", Permission.SCHEDULER, "shared.api.internal:sweep"',
        '"export_worker", OPERATE, "shared.api.internal:sweep"',
        _ACCESS + "test_internal_routes_are_for_service_accounts_alone",
    ),
    Guard(
        "a route made beside the table",
        "functions/register/main.py",
        "    return _function(request)\n",
        '    if request.path == "/debug":\n        return flask.Response("x")\n    return _function(request)\n',
        _ACCESS + "test_no_function_answers_outside_the_table",
    ),
    Guard(
        "the gateway forwards no internal path",
        "infra/local/routing.py",
        "if not is_internal(template) and template not in _OWN_PATHS",
        "if template not in _OWN_PATHS",
        "tests/unit/local/test_gateway.py::test_internal_paths_are_not_forwarded",
    ),
    Guard(
        "a link to a file expires",
        "shared/services/file_links.py",
        'if found is None or found.data["expire_at"] <= self._stores.clock.now():',
        "if found is None:",
        "tests/functional/test_exports.py::test_a_link_to_the_kept_file_needs_no_identity_and_expires",
    ),
)
