"""Guards of pages, of listings, and of what is asked of the advisory service."""

from __future__ import annotations

from tests.campaigns.guards.access import DISPATCH, RECORDS
from tests.campaigns.guards.guard import Guard

_CONTRACT = "tests/functional/test_contract.py::"
_PAGE = _CONTRACT + "test_a_page_may_load_nothing_and_stand_in_no_frame"
_AUDIT = "tests/unit/test_supply_chain.py::test_an_audit_that_asked_about_some_pins_only_fails"

PAGES = (
    Guard(
        "a page may load nothing",
        DISPATCH,
        "default-src 'none'; style-src",
        "style-src",
        _PAGE,
    ),
    Guard("a page stands in no frame", DISPATCH, ', "X-Frame-Options": "DENY"}', "}", _PAGE),
    Guard("a page is sent with its headers", DISPATCH, "{**PAGE_HEADERS, **reply.headers}", "{**reply.headers}", _PAGE),
    Guard(
        "an idempotency key has a form",
        DISPATCH,
        "if not KEY_FORM.match(key):",
        "if False:",
        _CONTRACT + "test_an_idempotency_key_of_another_form_is_refused_before_anything_is_done",
    ),
    Guard(
        "a page is bounded",
        RECORDS,
        "max(1, min(page.size, MAX_PAGE_SIZE))",
        "page.size",
        _CONTRACT + "test_a_page_holds_at_most_a_hundred_items",
    ),
)

SUPPLY = (
    Guard(
        "a pin was asked about",
        "infra/supply_chain.py",
        "        if name not in answered\n",
        "        if False\n",
        _AUDIT,
    ),
    Guard(
        "a pin that the service skipped was not asked about",
        "infra/supply_chain.py",
        ' if "vulns" in item}',
        "}",
        _AUDIT,
    ),
    Guard(
        "nobody could be asked",
        "infra/supply_chain.py",
        'return [f"the advisory service could not be asked',
        'return [] and [f"the advisory service could not be asked',
        "tests/unit/test_supply_chain.py::test_an_audit_that_cannot_ask_fails",
    ),
)
