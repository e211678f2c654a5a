"""SQL mappings: what they can do, and every wall around them."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from shared.errors import MappingError, SourceError
from shared.pipeline.preparing import sql, sql_child
from tests.unit.pipeline.preparing.rig import run

TABLE = pa.table(
    {
        "id": [1, 2, 3, 4],
        "team": ["a", "b", "a", None],
        "pay": pa.array([Decimal("1.10"), Decimal("2.20"), Decimal("3.30"), None], pa.decimal128(10, 2)),
        "at": pa.array([dt.datetime(2024, 10, 27, 1, tzinfo=dt.UTC)] * 4, pa.timestamp("us", "UTC")),
        "day": [dt.date(1, 1, 1), dt.date(9999, 12, 31), None, dt.date(2024, 2, 29)],
    }
)


def rows(text: str, **mapping: object) -> list[dict[str, object]]:
    found = run(TABLE, {"sql": text, **mapping}).rows
    assert found is not None
    return found


def test_sql_groups_and_keeps_decimals_dates_and_instants_exact() -> None:
    assert rows("select team, sum(pay) as total from source group by team order by team nulls last") == [
        {"team": "a", "total": Decimal("4.40")},
        {"team": "b", "total": Decimal("2.20")},
        {"team": None, "total": None},
    ]
    assert rows("select * from source") == TABLE.to_pylist()


def test_sql_may_read_the_source_several_times() -> None:
    text = "select a.id from source a join source b on a.id = b.id + 1 where b.id in (select max(id) - 1 from source)"
    assert rows(text) == [{"id": 4}]


def test_columns_where_and_contract_follow_the_sql() -> None:
    text = "select team, count(*) as n from source group by team order by n desc, team"
    assert rows(text, where="n > 1", columns=[{"name": "Team", "from": "team"}]) == [{"Team": "a"}]
    contract = {"on_breach": "discard_row", "columns": {"team": {"required": True}}}
    found = run(TABLE, {"sql": text}, contract)
    assert found.broken == [(3, "team", "required", "row")]
    assert found.rejected_rows == [{"team": None, "n": 1}]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("selec 1", "syntax error"),
        ("select nope from source", "nope"),
        ("select * from elsewhere", "elsewhere"),
        ("select 1; select 2", "SELECT, SELECT; expected one SELECT"),
        (";", "nothing; expected one SELECT"),
        ("drop table source", "DROP; expected one SELECT"),
        ("create table t as select 1", "CREATE"),
        ("copy (select 1) to '/tmp/out.csv'", "COPY"),
        ("attach '/tmp/x.db'", "ATTACH"),
        ("install httpfs", "LOAD"),
        ("set threads = 8", "SET"),
        ("pragma database_list", "PRAGMA|SELECT|MULTI"),
        ("with t as (insert into source values (1) returning 1) select * from t", "."),
    ],
)
def test_what_is_not_one_select_is_refused(text: str, why: str) -> None:
    database = sql_child.connect(10**8)
    database.register("source", TABLE)
    with pytest.raises((sql_child.RefusedError, duckdb.Error), match=why):
        sql_child.select(database, text).read_all()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("selec 1", "syntax error"),
        ("select 1; select 2", "SELECT, SELECT; expected one SELECT"),
        ("select interval 1 day as i", "."),
        ("select 'a'::blob as bytes", "'bytes'"),
        ("select 1 as a, 2 as A", "."),
        ("select 170141183460469231731687303715884105727::hugeint as n", "170141183460469231731687303715884105727"),
        ("select 340282366920938463463374607431768211455::uhugeint as n", "'n' is UHUGEINT"),
        ("select [340282366920938463463374607431768211455::uhugeint] as n", r"'n' is UHUGEINT\[\]"),
        ("select {'a': 170141183460469231731687303715884105727::hugeint} as n", "does not fit"),
    ],
)
def test_a_refusal_names_the_place_and_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(MappingError, match=why) as refused:
        rows(text)
    assert refused.value.details["field"] == "mapping.sql"


OUTSIDE = [
    "select * from read_csv('{path}', header = false)",
    "select * from read_text('{path}')",
    "select * from read_blob('{path}')",
    "select * from '{path}'",
    "select * from glob('{folder}/*')",
    "select * from read_json_auto('{path}')",
]


@pytest.mark.parametrize("text", OUTSIDE)
def test_sql_opens_no_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "secret.csv"
    path.write_text('{"a": 1}\n{"a": 2}\n')
    text = text.format(path=path, folder=tmp_path)
    assert duckdb.connect().sql(text).fetchall(), "without the walls it opens"
    with pytest.raises(duckdb.Error, match=r"file system operations are disabled|does not exist"):
        sql_child.select(sql_child.connect(10**8), text).read_all()


def test_sql_opens_no_address() -> None:
    for text in ("select * from 'http://127.0.0.1:1/a.csv'", "select * from read_parquet('https://127.0.0.1:1/a')"):
        with pytest.raises(duckdb.Error, match=r"file system operations are disabled|does not exist"):
            sql_child.select(sql_child.connect(10**8), text).read_all()


def test_sql_cannot_read_the_source_file_past_its_table(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match="disabled"):
        rows("select * from read_parquet('source.parquet')")


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("enable_external_access", "select * from read_text('{path}')"),
        ("python_enable_replacements", "select * from visible"),
    ],
)
def test_each_wall_alone_holds_what_it_is_for(
    option: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret.csv"
    path.write_text("1\n")
    visible = TABLE
    text = text.format(path=path)
    with pytest.raises(duckdb.Error):
        sql_child.connect(10**8).sql(text).fetchall()
    walls = {name: value for name, value in sql_child.OPTIONS.items() if name != option}
    if option != "enable_external_access":
        walls["enable_external_access"] = "true"
        alone = duckdb.connect(":memory:", config={**sql_child.OPTIONS, "enable_external_access": "true"})
        with pytest.raises(duckdb.Error):
            alone.sql(text).fetchall()
    open_wall = duckdb.connect(":memory:", config={**walls, "temp_directory": ""})
    assert open_wall.sql(text).fetchall(), "taken out, the wall lets it through"
    assert visible.num_rows == 4


def test_sql_cannot_change_the_settings_that_hold_it() -> None:
    database = sql_child.connect(10**8)
    for text in ("set memory_limit = '10GB'", "set temp_directory = '/tmp'", "set threads = 4", "reset memory_limit"):
        with pytest.raises(duckdb.Error, match="locked"):
            database.execute(text)


def test_sql_that_needs_more_memory_than_it_may_take_ends_and_says_so() -> None:
    with pytest.raises(SourceError, match="more memory") as counted:
        rows("select list(range) as a from range(100000000)")
    assert counted.value.code == "sql_limit"


def test_a_result_that_duckdb_cannot_hold_says_so_too() -> None:
    with pytest.raises(SourceError, match="more memory") as streamed:
        rows("select repeat('x', 1000000) as a from range(100000)")
    assert streamed.value.code == "sql_limit"


def test_the_memory_that_duckdb_does_not_count_is_bounded_by_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "select length(repeat('x', 150000000)) as a"
    monkeypatch.setattr(sql, "CHILD_BYTES", 300 * 2**20)
    with pytest.raises(SourceError, match="more memory"):
        rows(text)
    monkeypatch.setattr(sql, "CHILD_BYTES", 8 * 2**30)
    assert rows(text) == [{"a": 150000000}], "without the bound of the process it is taken"


def test_sql_that_runs_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "LIMIT_S", 1.0)
    endless = (
        "with recursive t as (select 1 n union all select n + 1 from t where n < 2000000) select max(n) as n from t"
    )
    with pytest.raises(SourceError, match="longer than 1 s"):
        rows(endless)


def test_the_child_gets_nothing_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}
    popen = subprocess.Popen

    def spy(*args: object, **more: object) -> object:
        seen.update(more["env"])  # type: ignore[call-overload]
        return popen(*args, **more)  # type: ignore[call-overload]

    monkeypatch.setenv("SECRET", "s3cret")
    monkeypatch.setattr(sql.subprocess, "Popen", spy)
    rows("select 1 as a")
    assert set(seen) == {"PYTHONPATH", "ARROW_DEFAULT_MEMORY_POOL", "MALLOC_ARENA_MAX"}


def test_a_child_that_cannot_start_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "CHILD", Path("/nowhere/sql_child.py"))
    with pytest.raises(SourceError, match="could not be run"):
        rows(f"select '{'x' * 40_000}' as a")


def test_a_source_too_large_for_the_disk_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "MAX_SOURCE_BYTES", -1)
    with pytest.raises(SourceError, match="too much for SQL") as refused:
        rows("select 1 as a")
    assert refused.value.code == "source_too_large"


def test_no_child_is_left() -> None:
    with pytest.raises(MappingError):
        rows("select nope")
    mine = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert [child for child in mine if "sql_child" in Path(f"/proc/{child}/cmdline").read_text()] == []


def test_sql_takes_no_more_than_its_memory() -> None:
    text = "select list(range) as a from range(4000000)"
    with pytest.raises(duckdb.OutOfMemoryException):
        sql_child.select(sql_child.connect(20 * 10**6), text).read_all()
