"""The campaign's own instruments: what they notice, and what they let pass."""

from __future__ import annotations

import json
import random
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from infra.local.sandboxes.faults import Fault, Faults
from shared.connectors._base import Mode
from shared.models import JobStatus
from tests.campaigns.course import Course, Record, apart
from tests.campaigns.moods import armed, moods
from tests.campaigns.network import Network
from tests.campaigns.reader import Expected
from tests.campaigns.report import Report, Row
from tests.campaigns.simulated_target import published
from tests.campaigns.simulation import Simulation
from tests.campaigns.spot import Spot, replay
from tests.campaigns.targets import Target, rows_of
from tests.campaigns.together import Parts
from tests.campaigns.verdict import Verdict, finished
from tests.fakes.stores import FakeClock

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
URL = "https://api.powerbi.com/v1.0/myorg/groups"


def answer(status: int, retry_after: str | None = None) -> requests.Response:
    made = requests.Response()
    made.status_code = status
    if retry_after is not None:
        made.headers["Retry-After"] = retry_after
    return made


def network(clock: FakeClock) -> Network:
    return Network(clock, lambda tokens: None, is_on=True)


@pytest.mark.parametrize("retry_after", ["7", "Mon, 05 Jan 2026 12:00:07 GMT"])
@pytest.mark.parametrize(("waited_s", "undercut"), [(6.9, 1), (7.0, 0)])
def test_a_call_before_the_time_that_retry_after_named_is_noticed(
    retry_after: str, waited_s: float, undercut: int
) -> None:
    clock = FakeClock(NOW)
    way, request = network(clock), requests.Request("GET", URL).prepare()
    way.pass_on(lambda: answer(429, retry_after), request)
    clock.sleep(waited_s)
    way.pass_on(lambda: answer(200), request)
    assert len(way.undercut) == undercut


def test_a_connection_that_breaks_can_look_like_one_that_was_silent_for_as_long_as_the_client_waits() -> None:
    clock = FakeClock(NOW)
    way, request = network(clock), requests.Request("GET", URL).prepare()
    way.times_out = True

    def breaks() -> requests.Response:
        raise requests.ConnectionError("reset")

    with pytest.raises(requests.ReadTimeout):
        way.pass_on(breaks, request)
    assert (clock.now() - NOW).total_seconds() == 190.0


def test_tokens_end_in_mid_job_and_not_right_after_they_were_issued() -> None:
    ended: list[str] = []
    way, request = network(FakeClock(NOW)), requests.Request("GET", URL).prepare()
    way.expire, way.expiry = ended.append, 1.0
    for _ in range(20):
        way.pass_on(lambda: answer(200), request)
    assert ended == ["entra", "entra"]


def test_the_command_that_is_printed_for_a_failing_run_names_just_that_run() -> None:
    command = replay("pairs", "looker", "append", "17+40")
    assert command == "make campaign PART=pairs POINT=looker/append/17+40"
    assert Spot.parse("looker/append/17+40") == Spot("looker", "append", "17+40")
    assert replay("faults", "looker", "append", 0.3, 12).endswith(" POINT=looker/append/0.3 SEED=12")


@pytest.mark.parametrize(
    ("text", "taken"),
    [("", True), ("looker", True), ("looker/append", True), ("looker/replace/3", False), ("power_bi", False)],
)
def test_a_spot_takes_the_courses_that_it_names(text: str, taken: bool) -> None:
    assert Spot.parse(text).takes("looker", "append") is taken


def test_a_spot_of_four_parts_is_refused() -> None:
    with pytest.raises(ValueError, match="target/mode/what"):
        Spot.parse("looker/append/1/2")


OLD, NEW = [(1, 1, "a"), (2, 1, "b")], [(1, 2, "a"), (3, 2, "c")]


@pytest.mark.parametrize(
    ("seen", "is_allowed"),
    [(OLD, True), (list(reversed(OLD)), True), (NEW, True), ([], False), (OLD[:1], False), ([*OLD, *NEW], False)],
)
def test_a_reader_may_see_the_old_table_or_the_new_one_while_a_job_runs_and_nothing_else(
    seen: list[tuple[int, int, str]], is_allowed: bool
) -> None:
    expected = Expected()
    expected.settle(OLD)
    expected.add(NEW)
    assert expected.allows(seen, len(expected)) is is_allowed


def test_a_read_that_began_before_a_job_may_see_what_it_published_and_one_that_began_after_it_only_that() -> None:
    expected = Expected()
    expected.settle(OLD)
    before = len(expected)
    expected.add(NEW)
    expected.settle(NEW)
    assert [expected.allows(rows, before) for rows in (OLD, NEW, [])] == [True, True, False]
    assert [expected.allows(rows, len(expected)) for rows in (OLD, NEW, [])] == [False, True, False]


def test_before_there_were_rows_a_reader_may_see_none() -> None:
    expected = Expected()
    expected.add(NEW)
    assert expected.allows([], len(expected))


def test_versions_differ_in_their_number_of_rows_and_an_upsert_keeps_some_of_the_rows_before() -> None:
    ids = [{row["id"] for row in rows_of(version, Mode.UPSERT)} for version in (1, 2)]
    assert (len(ids[0]), len(ids[1])) == (48, 55)
    assert (len(ids[0] - ids[1]), len(ids[0] & ids[1]), len(ids[1] - ids[0])) == (17, 31, 24)


@pytest.mark.parametrize(("rate", "four_deviations"), [(0.01, 28), (0.1, 85), (0.3, 130), (0.5, 141)])
@pytest.mark.parametrize(
    ("sandbox", "path"),
    [("google_sheets", "/v4/spreadsheets/x"), ("power_bi", "/x/executeQueries"), ("power_bi", "/x/rows")],
)
def test_faults_strike_as_many_calls_as_their_rate_says(
    sandbox: str, path: str, rate: float, four_deviations: int
) -> None:
    faults, rng = Faults(), random.Random(3)
    for mood in armed(moods(sandbox, NOW), rate):
        faults.add(Fault.from_dict({**mood, "seed": rng.randrange(1 << 30), "times": -1}))
    struck = sum(faults.strike(sandbox, "POST", path) is not None for _ in range(5_000))
    assert struck == pytest.approx(5_000 * rate, abs=four_deviations)


def test_points_are_taken_where_the_world_differs() -> None:
    assert apart(["a:before", "a:after", "b:before", "c:before", "c:after"]) == [1, 2, 5]


def test_parts_side_by_side_end_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    row = Row("kill", "looker", "append", verdict=Verdict(runs=3, lost=2))
    whole = Report(rows=[row], teeth={"a guard": True}, others={"guards": 0}).result()
    written = {"kill": json.dumps(whole), "pause": json.dumps(Report(teeth={"another": False}).result())}

    def command(part: str, result: Path) -> list[str]:
        """A part that says its name and leaves its figures, or dies before it can."""
        text = written.get(part)
        program = f"print({part!r})" + (
            f"; open({str(result)!r}, 'w').write({text!r})" if text else "; raise SystemExit(1)"
        )
        return [sys.executable, "-c", program]

    report = Report()
    Parts(command, at_once=2).run(report, ["kill", "pause", "states"])
    assert report.end() == 1
    said = capsys.readouterr().out.splitlines()
    assert {"kill", "pause", "states"} <= set(said)
    assert said[-1] == (
        "campaign: runs=3 lost=2 duplicated=0 stuck=0 mixed=0 undercut=0 missed=0 doubled=0 guards_failures=0 states_failures=1 teeth=1/2"
    )


@pytest.mark.parametrize(
    ("notes", "stuck"), [([], 0), (["a worker failed: RuntimeError: x", "a worker did not end"], 2)]
)
def test_a_fault_of_a_worker_makes_a_run_unclean_though_the_job_succeeds_and_the_target_is_right(
    notes: list[str], stuck: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [tuple(row.values()) for row in rows_of(1, Mode.APPEND)]
    live = published((), Mode.APPEND, rows)
    target = Target("looker", {}, lambda table: list(live), None, "looker", ())
    course = Course(None, target, Mode.APPEND, "people")  # type: ignore[arg-type]  # no worker is started
    record = Record(JobStatus.SUCCESS, told=finished(len(rows)))
    monkeypatch.setattr(course, "drive", lambda wanted, script: (record, notes))
    verdict = course.run([])
    assert (verdict.stuck, verdict.is_clean, verdict.lost) == (stuck, not stuck, 0)


def test_a_fault_of_a_worker_makes_a_history_unclean(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = Simulation(0)
    wake_next, failed = simulation.services.exports._wake_next, list[str]()

    def fails_once(target: str) -> None:
        wake_next(target)
        if not failed:
            failed.append(target)
            raise RuntimeError("ours")

    monkeypatch.setattr(simulation.services.exports, "_wake_next", fails_once)
    simulation.run()
    assert (simulation.verdict.stuck, simulation.verdict.is_clean) == (1, False)
    assert "RuntimeError('ours')" in simulation.verdict.notes[-1]


@pytest.mark.parametrize(
    ("part", "runs", "is_whole", "lack"),
    [
        ("kill", {"looker": 0}, False, "kill: nothing ran that counts"),
        ("kill", {"looker": 1}, False, None),
        ("kill", {"looker": 300, "power_bi": 199}, True, "kill: 499 runs, and all of it are 500 at least"),
        ("kill", {"looker": 300, "power_bi": 200}, True, None),
        ("faults", {"looker": 800, "google_sheets": 799, "power_bi": 800}, True,
         "faults of google_sheets: 799 runs, and all of it are 800 at least"),
        ("states", {}, True, "states: nothing ran that counts"),
    ],
)  # fmt: skip
def test_a_part_that_ran_too_little_fails(
    part: str, runs: dict[str, int], is_whole: bool, lack: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    one = Report(rows=[Row(part, target, "append", verdict=Verdict(runs=count)) for target, count in runs.items()])
    one.tooth("a guard", "", is_noticed=True)
    one.require(part, is_whole=is_whole)
    whole = Report()
    whole.take(json.loads(json.dumps(one.result())))
    assert whole.end() == int(lack is not None)
    said = capsys.readouterr().out.splitlines()
    assert (f"FAILED: {lack}" in said, " short=1 " in said[-1]) == (lack is not None, lack is not None)


def test_parts_that_are_counted_or_are_teeth_alone_ran() -> None:
    api, removed = Report(), Report()
    api.count("api", 500, failures=0)
    api.require("api", is_whole=False)
    removed.tooth("a guard", "", is_noticed=True)
    removed.require("removed", is_whole=False)
    assert api.short == removed.short == []
