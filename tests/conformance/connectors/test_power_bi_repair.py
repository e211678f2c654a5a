"""What follows a Power BI job that failed half-way, or whose table was changed behind its back: found out, repaired, or refused."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from infra.local.sandboxes.server import SandboxServer
from shared.connectors._base import Mode
from shared.connectors.power_bi.schema import Body
from shared.errors import TargetError, UnsupportedError
from tests.conformance.connectors.power_bi_account import Account, as_multiset, as_rows
from tests.conformance.connectors.suite import Export
from tests.conformance.sandboxes.conftest import sandboxes, vendors

__all__ = ["sandboxes", "vendors"]  # fixtures
pytestmark = pytest.mark.usefixtures("vendors")

GOOD = pa.table({"n": pa.array(range(12_000)), "text": [f"good {i}" for i in range(12_000)]})
BAD = pa.table({"n": pa.array(range(25_000)), "text": [f"bad {i}" for i in range(25_000)]})
MORE = pa.table({"n": [1, 2], "text": ["more", None]})
OTHER_COLUMNS = pa.table({"n": ["text now"] * 15_000, "extra": pa.array(range(15_000))})
MODES: list[dict[str, Any]] = [
    {"sequence_numbers": "enforce"},
    {"sequence_numbers": "reject"},
    {"sequence_numbers": "ignore"},
    {"sequence_numbers": "absent"},
    {"sequence_numbers": "enforce", "sequence_resets_on_delete": True},
    {"sequence_numbers": "reject", "empty_rows": "refuse"},
]
NAMES = (f"table {number}" for number in itertools.count())


class Shop:
    """Jobs on one table of their own; each step in a connector of its own, with what the engine would have remembered.

    `targets` has that by dataset name, `target` is the last job's.
    """

    def __init__(self, account: Account) -> None:
        self.account, self.name = account, next(NAMES)
        self.targets: dict[str | None, Mapping[str, Any]] = {}
        self.target: Mapping[str, Any] = {}

    @property
    def connector(self) -> Any:
        return self.account.connect()

    def job(self, table: pa.Table, mode: Mode = Mode.REPLACE, **options: Any) -> Export:
        target = self.targets.get(options.get("dataset_name"), {})
        export = Export(self, table, mode, table_name=self.name, target=target)  # type: ignore[arg-type]  # no rows asked
        export.plan = replace(export.plan, options=options)
        return export

    def done(self, table: pa.Table, mode: Mode = Mode.REPLACE, **options: Any) -> Export:
        job = self.job(table, mode, **options)
        self._keep(job.run(), options)
        return job

    def half(self, table: pa.Table, mode: Mode = Mode.REPLACE, chunks: int = 1, **options: Any) -> Export:
        """A job that ends after some of its chunks."""
        job = self.job(table, mode, **options).begin()
        self._keep(job.plan.target, options)
        job.table = table.slice(0, chunks * 10_000)
        job.write()
        job.open().abandon()
        return job

    def _keep(self, target: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        self.target = self.targets[options.get("dataset_name")] = target

    def held(self, dataset_name: str | None = None) -> Any:
        (dataset_id,) = self.connector._workspace.push_datasets_named(dataset_name or self.name)
        columns = self.columns()
        return as_multiset(
            [row for page in self.connector.push_table(dataset_id, self.name).read_rows(columns) for row in page]
        )

    def columns(self) -> list[dict[str, str]]:
        return list(self.target["columns"])

    def table(self) -> Any:
        return self.connector.push_table(self.target["dataset_id"], self.name)


@pytest.fixture
def shop(vendors: SandboxServer) -> Shop:
    vendors.clock.advance(3_600)  # past the windows of the tests before
    return Shop(Account(vendors))


@pytest.mark.parametrize("settings", MODES, ids=lambda knobs: " ".join(map(str, knobs.values())))
def test_a_late_delete_is_found_long_after_and_the_same_rows_pushed_again(
    shop: Shop, vendors: SandboxServer, settings: dict[str, Any]
) -> None:
    vendors.settings("power_bi", **settings)
    good = shop.done(GOOD)
    vendors.clock.advance(900)
    assert good.differences() == []
    shop.table().delete_rows()
    assert good.differences()[0] == "expected 12000 rows, found 0"
    repair = shop.done(GOOD)
    assert (repair.differences(), good.differences()) == ([], [])
    assert shop.held() == as_rows(GOOD)


def test_what_somebody_else_changed_is_found_long_after(shop: Shop) -> None:
    good = shop.done(MORE)
    shop.table().post(Body(1, b'{"rows":[{"n":3,"text":"theirs"}]}'), None, 2)
    assert good.differences()[0] == "expected 2 rows, found 3"
    shop.table().delete_rows()
    shop.table().post(Body(2, b'{"rows":[{"n":1,"text":"more"},{"n":3,"text":null}]}'), None, 0)
    assert good.differences() == ["max:n: expected 2, found 3", "sum:n: expected 3, found 4"]
    workspace = shop.connector._workspace
    workspace.safe("DELETE", f"datasets/{shop.target['dataset_id']}", "deleting the dataset")
    assert good.differences()[0] == "expected 2 rows, found 0"
    shop.done(MORE)  # into a new dataset of that name
    assert shop.held() == as_rows(MORE)


@pytest.mark.parametrize("chunks", [0, 2])
@pytest.mark.parametrize("settings", MODES, ids=lambda knobs: " ".join(map(str, knobs.values())))
def test_the_last_good_rows_replace_a_replace_that_failed_half_way(
    shop: Shop, vendors: SandboxServer, settings: dict[str, Any], chunks: int
) -> None:
    vendors.settings("power_bi", **settings)
    shop.done(GOOD)
    shop.half(BAD, chunks=chunks)
    shop.done(GOOD)
    assert shop.held() == as_rows(GOOD)
    if settings["sequence_numbers"] in ("enforce", "reject") and "empty_rows" not in settings:
        shop.done(MORE, Mode.APPEND)
        assert shop.held() == as_rows(pa.concat_tables([GOOD, MORE]))


@pytest.mark.parametrize("numbers", ["enforce", "reject"])
def test_a_post_of_the_failed_job_that_comes_late_is_not_added(
    shop: Shop, vendors: SandboxServer, numbers: str
) -> None:
    vendors.settings("power_bi", sequence_numbers=numbers, quotas=False)
    shop.done(GOOD)
    failed = shop.half(BAD)
    late = itertools.count(failed.plan.state["base"] + 10_001)
    repaired = threading.Event()

    def post_late() -> None:
        table = shop.table()
        while not repaired.is_set():
            try:
                table.post(Body(1, b'{"rows":[{"n":-1,"text":"late"}]}'), next(late), 0)
            except TargetError:
                assert numbers == "reject"

    sleeper = threading.Thread(target=post_late)
    sleeper.start()
    repair = shop.job(GOOD).begin()
    repair.write()
    repaired.set()
    sleeper.join()
    assert repair.differences() == []
    assert shop.held() == as_rows(GOOD)


@pytest.mark.parametrize("numbers", ["ignore", "absent"])
def test_a_late_post_where_no_numbers_are_kept_fails_the_verification(
    shop: Shop, vendors: SandboxServer, numbers: str
) -> None:
    vendors.settings("power_bi", sequence_numbers=numbers)
    shop.half(BAD)
    repair = shop.job(GOOD).begin().write()
    shop.table().post(Body(1, b'{"rows":[{"n":-1,"text":"late"}]}'), 20_000, 0)
    assert repair.differences()[0] == "expected 12000 rows, found 12001"


@pytest.mark.parametrize("chunks", [1, 3])
def test_an_append_after_an_append_that_failed_half_way_is_refused_and_adds_nothing(shop: Shop, chunks: int) -> None:
    shop.done(GOOD)
    failed = shop.half(BAD, Mode.APPEND, chunks=chunks)
    left = min(10_000 * chunks, 25_000)
    with pytest.raises(TargetError, match=f"{failed.job_id} left {left:,} of its rows") as caught:
        shop.done(MORE, Mode.APPEND)
    assert caught.value.code == "table_unfinished"
    assert shop.table().count() == 12_000 + left
    shop.done(GOOD)
    shop.done(MORE, Mode.APPEND)
    assert shop.held() == as_rows(pa.concat_tables([GOOD, MORE]))


def test_an_append_after_an_append_that_wrote_nothing_is_exact(shop: Shop) -> None:
    shop.done(GOOD)
    shop.half(BAD, Mode.APPEND, chunks=0)
    shop.job(BAD, Mode.APPEND).begin()  # and one that died before anybody remembered its begin
    shop.done(MORE, Mode.APPEND)
    assert shop.held() == as_rows(pa.concat_tables([GOOD, MORE]))


def test_an_append_after_a_replace_that_failed_half_way_is_refused(shop: Shop) -> None:
    shop.done(GOOD)
    failed = shop.half(BAD, chunks=0)
    with pytest.raises(TargetError, match=f"replace {failed.job_id} emptied table") as caught:
        shop.done(MORE, Mode.APPEND)
    assert caught.value.code == "table_unfinished"


def test_who_accepts_rows_that_come_twice_may_append_to_an_unfinished_table(shop: Shop, vendors: SandboxServer) -> None:
    vendors.settings("power_bi", sequence_numbers="absent")
    shop.done(GOOD)
    shop.half(BAD, Mode.APPEND, delivery="at_least_once")
    with pytest.raises((TargetError, UnsupportedError)):
        shop.done(MORE, Mode.APPEND)
    shop.done(MORE, Mode.APPEND, delivery="at_least_once")
    assert shop.held() == as_rows(pa.concat_tables([GOOD, BAD.slice(0, 10_000), MORE]))


def test_a_repair_brings_the_columns_back_too(shop: Shop) -> None:
    shop.done(GOOD)
    shop.half(OTHER_COLUMNS)
    assert [column["name"] for column in shop.columns()] == ["n", "extra"]
    shop.done(GOOD)
    assert shop.held() == as_rows(GOOD)
    with pytest.raises(TargetError, match="'extra' is new"):
        shop.done(OTHER_COLUMNS, Mode.APPEND)


def test_columns_that_a_dead_begin_changed_are_brought_back_without_a_memory_of_it(shop: Shop) -> None:
    shop.done(GOOD)
    shop.job(OTHER_COLUMNS).begin()  # its answer is lost
    shop.done(GOOD)
    assert shop.held() == as_rows(GOOD)


def test_tables_of_one_name_in_two_datasets_are_remembered_apart(shop: Shop) -> None:
    here, there = f"{shop.name} here", f"{shop.name} there"
    shop.done(GOOD, dataset_name=here)
    shop.done(OTHER_COLUMNS, dataset_name=there)
    shop.half(OTHER_COLUMNS, dataset_name=there)
    shop.done(MORE, Mode.APPEND, dataset_name=here)
    with pytest.raises(TargetError, match="'extra' is missing"):
        shop.done(MORE, Mode.APPEND, dataset_name=there)
    with pytest.raises(TargetError, match="did not finish"):
        shop.done(OTHER_COLUMNS, Mode.APPEND, dataset_name=there)
    shop.done(OTHER_COLUMNS, dataset_name=there)
    assert shop.held(there) == as_rows(OTHER_COLUMNS)
    shop.done(MORE, Mode.APPEND, dataset_name=here)
    assert shop.held(here) == as_rows(pa.concat_tables([GOOD, MORE, MORE]))


def test_what_the_last_release_remembered_of_several_datasets_is_understood(shop: Shop) -> None:
    here, there = f"{shop.name} here", f"{shop.name} there"
    shop.done(GOOD, dataset_name=here)
    shop.half(BAD, Mode.APPEND, dataset_name=here)
    shop.done(GOOD, dataset_name=there)
    kept = {name: {**target, "dataset_name": name} for name, target in shop.targets.items()}
    together = {**kept[there], "others": {here: kept[here]}}
    shop.targets = {here: together, there: together}
    with pytest.raises(TargetError, match=r"left 10,000 of its rows"):
        shop.done(MORE, Mode.APPEND, dataset_name=here)
    shop.done(MORE, Mode.APPEND, dataset_name=there)
    assert shop.held(there) == as_rows(pa.concat_tables([GOOD, MORE]))
    assert "others" not in shop.targets[there]


@pytest.mark.parametrize("numbers", ["enforce", "reject"])
def test_a_worker_that_wakes_in_the_begin_of_an_append_drops_no_rows_of_its_rival(
    shop: Shop, vendors: SandboxServer, numbers: str
) -> None:
    vendors.settings("power_bi", sequence_numbers=numbers)
    shop.done(GOOD)
    rival, sleeper = shop.job(BAD, Mode.APPEND), shop.job(BAD, Mode.APPEND)
    rival.plan = sleeper.plan = replace(rival.plan, intent=rival.open().preflight())
    rival.begin()
    rival.table = BAD.slice(0, 10_000)
    rival.write()
    sleeper.open().begin()  # it stopped in front of its first call; what it then wants to record is refused
    rival.table, rival.expected = BAD, rival.open().fingerprint(BAD.slice(0, 0))
    rival.write()
    assert rival.differences() == []
    assert shop.table().count() == 12_000 + 25_000


def test_a_worker_that_wakes_in_its_begin_drops_no_rows_of_the_job_behind_it(shop: Shop) -> None:
    shop.done(GOOD)
    sleeper = shop.job(MORE, Mode.APPEND)
    sleeper.plan = replace(sleeper.plan, intent=sleeper.open().preflight())
    shop.done(MORE, Mode.APPEND)
    behind = shop.job(BAD, Mode.APPEND).begin()
    sleeper.open().begin()
    behind.write()
    assert behind.differences() == []


def test_a_begin_whose_fence_lost_its_reply_goes_on(shop: Shop, vendors: SandboxServer) -> None:
    shop.done(GOOD)
    for numbers in ("enforce", "reject"):
        vendors.settings("power_bi", sequence_numbers=numbers)
        vendors.fault(vendor="power_bi", method="POST", path="/rows$", kind="lost_reply")
        shop.done(GOOD)
        shop.done(MORE, Mode.APPEND)
        assert shop.held() == as_rows(pa.concat_tables([GOOD, MORE]))


def test_a_repeated_publish_says_the_same(shop: Shop) -> None:
    job = shop.job(MORE).begin().write()
    first, second = job.open().publish(), job.open().publish()
    assert first == second
    assert "unfinished" not in first.details["target"]
    assert job.plan.target["unfinished"]["job_id"] == job.job_id
