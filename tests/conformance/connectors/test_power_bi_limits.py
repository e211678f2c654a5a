"""Every limit that Power BI documents for push datasets is refused before anything is touched, wherever it can be known then.

Not knowable, because the API does not tell: whether a dataset of somebody else keeps only 200,000 rows (basicFIFO), and whether
its owner has a free plan (10,000 rows an hour). 75 tables and 75 relationships are out of reach: a dataset made here has one table.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from infra.local.sandboxes.server import SandboxServer
from shared.connectors._base import Chunk, DeliveryPlan, Mode
from shared.connectors._quota import Limit, Need
from shared.connectors.power_bi import limits
from shared.errors import TargetError, UnsupportedError
from tests.conformance.connectors.power_bi_account import Account, as_multiset, as_rows, deliver, plan_of
from tests.conformance.sandboxes.conftest import sandboxes, vendors

__all__ = ["sandboxes", "vendors"]  # fixtures
pytestmark = pytest.mark.usefixtures("vendors")

SMALL = pa.table({"n": [1, 2, 3]})
COLUMNS = [f"c{number}" for number in range(75)]


@pytest.fixture
def account(vendors: SandboxServer) -> Account:
    vendors.clock.advance(3_600)  # past the windows of the tests before
    return Account(vendors)


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        (plan_of("wide", pa.table({name: [1] for name in [*COLUMNS, "c75"]})), "76 columns; .* takes 1 to 75"),
        (replace(plan_of("long", SMALL), rows=5_000_001), "5,000,001 rows .* takes 5,000,000"),
        (plan_of("n" * 101, SMALL), "101 characters; expected 1 to 100 characters"),
        (plan_of("a:b", SMALL), "has ':'"),
        (plan_of("named", pa.table({"a\x01": [1]})), "control characters"),
        (plan_of("named", pa.table({"a": [1], "A": [1]})), "one name in Power BI"),
        (plan_of("typed", pa.table({"tags": [["a"]]})), "'tags' is of type list"),
    ],
)
def test_a_limit_of_the_table_is_refused_with_figure_and_limit(account: Account, plan: DeliveryPlan, told: str) -> None:
    before = account.calls()
    with pytest.raises(TargetError, match=told):
        account.connect().open_delivery(plan).preflight()
    assert [route for route in account.calls() - before if not route.startswith("GET ")] == []


def test_an_upsert_is_refused(account: Account) -> None:
    plan = replace(plan_of("upserted", SMALL, Mode.UPSERT), key=("n",))
    with pytest.raises(UnsupportedError, match="cannot do 'upsert'"):
        account.connect().open_delivery(plan).preflight()


def test_an_append_that_would_pass_five_million_rows_is_refused_and_adds_none(account: Account) -> None:
    begun, _ = deliver(account, plan_of("full", SMALL), SMALL)
    plan = replace(plan_of("full", SMALL, Mode.APPEND), rows=4_999_998, target=begun.target)
    with pytest.raises(TargetError, match=r"5,000,001 rows \(3 are there\).* takes 5,000,000"):
        account.connect().open_delivery(plan).preflight()
    account.connect().open_delivery(replace(plan, rows=4_999_997)).preflight()
    assert as_multiset(account.held(begun)) == as_rows(SMALL)


def test_seventy_five_columns_and_a_hundred_characters_are_taken(account: Account) -> None:
    table = pa.table({name: [1, None] for name in COLUMNS})
    begun, _ = deliver(account, plan_of("x" * 100, table), table)
    assert as_multiset(account.held(begun)) == as_rows(table)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (pa.array(["a", "x" * 4_001]), "text of 4,001 characters, where 4,000 is the limit"),
        (pa.array([1, 2**63 - 1]), "Int64"),
        (pa.array([1.0, float("inf")]), "infinity"),
        (pa.array([1.0, 1.7976931348623157e308]), "largest"),
        (pa.array([Decimal("1.0000"), Decimal("0.00001")], pa.decimal128(10, 5)), "more than 4 places"),
        (pa.array([Decimal(1), Decimal(10**24)], pa.decimal128(38, 0)), "more than 24 digits before the point"),
    ],
)
def test_a_value_beyond_its_type_is_refused_with_its_row_before_its_chunk_is_sent(
    account: Account, values: pa.Array, told: str
) -> None:
    table = pa.table({"v": values})
    before = account.calls()
    with pytest.raises(TargetError, match=f"row 12 holds in column 'v' .*{told}"):
        account.connect().open_delivery(plan_of("values", table)).fingerprint(table, 10)
    assert account.calls() == before


def test_no_request_has_more_than_ten_thousand_rows(account: Account) -> None:
    table = pa.table({"n": range(20_001)})
    before = account.calls()
    deliver(account, plan_of("posts", table), table)
    assert account.connect().open_delivery(plan_of("posts", table)).chunk_rows == 10_000
    route = "POST /v1.0/myorg/groups/<group>/datasets/<dataset>/tables/<table>/rows"
    assert (account.calls() - before)[route] == 4  # three with rows, and the one of no rows that begins


def test_a_dataset_that_drops_old_rows_fails_the_verification(account: Account) -> None:
    workspace = account.connect()._workspace
    body: dict[str, Any] = {
        "name": "fifo",
        "defaultMode": "Push",
        "tables": [{"name": "fifo", "columns": [{"name": "n", "dataType": "Int64"}]}],
    }
    query = {"defaultRetentionPolicy": "basicFIFO"}
    made = workspace.call("POST", "datasets", "making a dataset as somebody else does", body=body, query=query).json()
    table = pa.table({"n": pa.array(range(210_000))})
    given = account.connect(dataset_id=made["id"])
    plan = plan_of("fifo", table)
    begun = given.open_delivery(plan).begin()
    delivery = given.open_delivery(replace(plan, state=begun.state, target=begun.target))
    expected = delivery.fingerprint(table)
    for index, start in enumerate(range(0, 210_000, 10_000)):
        delivery.write(Chunk(index, start, table.slice(start, 10_000)))
    assert expected.differences(delivery.read_back())[0] == "expected 210000 rows, found 200000"


def test_every_window_of_posts_and_queries_is_asked_for() -> None:
    dataset = ("power_bi", "dataset", "d")
    assert set(limits.of_post("d", 9_000, 249_999)) == {
        Need(Limit(*dataset, 120, 60.0, "posts_a_minute")),
        Need(Limit(*dataset, 120, 3_600.0, "posts_an_hour"), is_binding=False),
        Need(Limit(*dataset, 5, 0.0, "posts_in_flight")),
        Need(Limit(*dataset, 1_000_000, 3_600.0, "rows_an_hour"), 9_000),
    }
    assert Need(Limit(*dataset, 120, 3_600.0, "posts_an_hour")) in limits.of_post("d", 1, 250_000)
    assert limits.of_query("app") == (Need(Limit("power_bi", "user", "app", 120, 60.0, "queries")),)
