"""Notices on their way to real HTTPS receivers, on a clock that the tests move; the rest of the world is fakes."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from infra.local.sandboxes.receivers import Receivers
from infra.local.sandboxes.server import SandboxServer, inherited_variables
from shared.services.notice_forms import SIGNATURE, webhook
from tests.functional.conftest import SHEETS, World
from tests.functional.receiving import API, REACHING, SECRET, SLACK, WEBHOOK, Told


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    with SandboxServer(tmp_path_factory.mktemp("receivers"), classes=[Receivers]) as server:
        yield server


@pytest.fixture
def told(server: SandboxServer, make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    """One webhook channel, `on_call`, whose receiver checks every signature, whenever it was made: the world's clock stands still."""
    for name in inherited_variables():
        monkeypatch.delenv(name)
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    server.settings("receivers", secret=SECRET, tolerance_s=0)
    told = Told(make_world(**REACHING), server)
    assert told.put("on_call", WEBHOOK).status == 201
    yield told
    server.reset()
    sandbox = server.sandbox("receivers")
    assert isinstance(sandbox, Receivers)
    sandbox.forget()
    server.traffic._counts.clear()


def test_a_webhook_gets_the_notice_signed_at_the_time_of_sending(told: Told) -> None:
    told.change()
    told.world.minute()
    told.world.work()
    (found,) = told.received()
    body = found["body"]
    assert (body["event"], body["at"], body["message"]) == ("freshness.late", "2026-01-05T12:00:01Z", "26 hours old")
    assert body["subject"] == {"schedule_id": "s1", "connector_name": "ymca_sheets", "table_name": "people"}
    assert found["headers"][SIGNATURE.lower()].startswith("t=1767614401,v1=")
    assert (told.delivery()["status"], told.delivery()["attempts"]) == ("sent", 1)
    assert told.are_open() == []


def test_a_receiver_with_another_secret_refuses_and_the_notice_says_so(told: Told) -> None:
    told.server.settings("receivers", secret="another-secret-of-thirty-two-letters")
    told.change()
    told.world.minute()
    told.world.work()
    found = told.delivery()
    assert (found["status"], found["attempts"], told.received()) == ("refused", 1, [])
    assert "hooks.example.org answered 401: the signature is not ours; mend the receiver" in found["reason"]


def test_the_signature_is_of_timestamp_and_body_by_hmac_sha256() -> None:
    at = datetime(2026, 1, 5, 12, tzinfo=UTC)
    notice = {"id": "n1", "event": "freshness.late", "at": at, "message": "é", "subject": {"schedule_id": "s1"}}
    body, headers = webhook(notice, SECRET, at + timedelta(minutes=3))
    assert body == (
        b'{"id":"n1","event":"freshness.late","at":"2026-01-05T12:00:00Z","message":"\\u00e9","subject":{"schedule_id":"s1"}}'
    )
    wanted = hmac.new(SECRET.encode(), b"1767614580." + body, hashlib.sha256).hexdigest()
    assert headers[SIGNATURE] == f"t=1767614580,v1={wanted}"


def test_slack_gets_a_message_that_links_nowhere_and_calls_nobody(told: Told) -> None:
    told.put("team", SLACK)
    told.world.call("register", "DELETE", f"{API}/channels/on_call")
    told.change(message="table '<!channel>' & <https://evil.example|more>")
    told.world.minute()
    told.world.work()
    (found,) = told.received()
    first, second, third = found["body"]["text"].split("\n")
    assert first == "*freshness.late* table '&lt;!channel&gt;' &amp; &lt;https://evil.example|more&gt;"
    assert second == "schedule_id: s1, connector_name: ymca_sheets, table_name: people"
    assert third.startswith("2026-01-05T12:00:01Z, notice 01")
    assert told.delivery("team")["status"] == "sent"


def test_each_channel_gets_a_notice_once_however_often_the_minute_comes(told: Told) -> None:
    told.put("team", SLACK)
    told.change()
    for _ in range(3):
        told.world.minute()
    told.world.work()
    told.world.minute()
    told.world.work()
    assert sorted(one["host"] for one in told.received()) == ["hooks.example.org", "hooks.slack.com"]


def test_a_task_that_comes_twice_sends_once(told: Told) -> None:
    told.change()
    told.world.minute()
    told.world.fakes.tasks.pending *= 3
    told.world.work()
    assert told.asked() == 1


def test_a_task_that_comes_twice_undercuts_no_pause(told: Told) -> None:
    told.refuse(503)
    told.change()
    told.world.minute()
    told.world.fakes.tasks.pending *= 3
    for _ in range(3):
        told.world.work_once()
    assert (told.asked(), told.delivery()["attempts"]) == (1, 1)
    told.world.work()
    assert told.events() == ["freshness.late"]


def test_a_receiver_that_is_down_is_tried_again_with_growing_pauses_while_the_others_get_theirs(told: Told) -> None:
    told.put("team", SLACK)
    told.server.fault(vendor="receivers", kind="status", path="/notices/", status=503, times=3)
    told.change()
    told.world.minute()
    began, waits = told.world.fakes.clock.now(), []
    while told.world.fakes.tasks.pending:
        told.world.work_once()
        waits.append((told.world.fakes.clock.now() - began).total_seconds())
    assert waits == [0, 0, 10, 40, 130]
    assert (told.delivery()["status"], told.delivery()["attempts"]) == ("sent", 4)
    assert (told.delivery("team")["attempts"], len(told.received())) == (1, 2)


def test_retry_after_is_not_undercut(told: Told) -> None:
    told.refuse(429, Retry_After="600")
    told.change()
    told.world.minute()
    told.world.work_once()
    assert told.delivery()["next_at"] == "2026-01-05T12:10:01Z"
    told.world.work()
    assert told.events() == ["freshness.late"]


@pytest.mark.parametrize(("status", "body"), [(410, "channel_is_archived"), (404, "channel_not_found"), (400, "no")])
def test_a_refusal_for_good_ends_with_its_reason(told: Told, status: int, body: str) -> None:
    told.refuse(status, body, times=9)
    told.change()
    told.world.minute()
    told.world.work()
    assert told.delivery()["status"] == "refused"
    assert f"hooks.example.org answered {status}: {body}; mend the receiver" in told.delivery()["reason"]
    assert (told.asked(), told.are_open()) == (1, [])


def test_after_a_day_a_receiver_that_is_down_is_given_up_with_its_reason(told: Told) -> None:
    told.refuse(503, "maintenance", times=99)
    told.change()
    told.world.minute()
    told.world.work()
    found = told.delivery()
    assert (found["status"], found["reason"]) == ("given_up", "hooks.example.org answered 503: maintenance")
    assert (found["attempts"], told.are_open()) == (29, [])


def test_what_a_receiver_says_never_shows_a_secret(told: Told) -> None:
    told.put("team", SLACK)
    told.world.call("register", "DELETE", f"{API}/channels/on_call")
    told.refuse(404, "no route /services/T0AAAA/B0BBBB/canary-of-slack")
    told.change()
    told.world.minute()
    told.world.work()
    assert "answered 404: no route [redacted]; mend" in told.delivery("team")["reason"]


def test_a_crash_between_the_change_and_its_tasks_is_found_by_the_next_minutes(told: Told) -> None:
    told.change()
    told.world.minute()
    told.lose_tasks()
    for _ in range(3):
        told.world.fakes.clock.sleep(60)
        told.world.minute()
    told.world.work()
    assert told.events() == ["freshness.late"]


def test_a_crash_while_sending_is_found_too(told: Told) -> None:
    told.change()
    told.world.minute()
    channels = told.world.services.channels
    channels.__dict__["send"] = lambda document, notice: (_ for _ in ()).throw(RuntimeError("the process dies here"))
    with pytest.raises(AssertionError):
        told.world.work_once()
    del channels.__dict__["send"]
    for _ in range(5):
        told.world.fakes.clock.sleep(60)
        told.world.minute()
    told.world.work()
    assert told.events() == ["freshness.late"]


def test_a_lost_answer_brings_the_notice_again_under_the_same_id(told: Told) -> None:
    told.server.fault(vendor="receivers", kind="lost_reply", times=1)
    told.change()
    told.world.minute()
    told.world.work()
    first, second = told.received()
    assert first["body"]["id"] == second["body"]["id"]
    assert first["headers"][SIGNATURE.lower()] != second["headers"][SIGNATURE.lower()]
    assert told.delivery()["attempts"] == 2


def test_changes_of_one_thing_arrive_in_their_order_though_the_first_was_held_up(told: Told) -> None:
    told.refuse(503, times=1)
    told.change("freshness.late")
    told.world.minute()
    told.world.work_once()
    told.change("freshness.recovered")
    told.change("schedule.failing")
    told.world.minute()
    for _ in range(2):  # the newest tasks come first: of the schedule, which waits for nothing, and of the recovery
        told.world.work_once(newest=True)
    told.world.work()
    assert told.events() == ["schedule.failing", "freshness.late", "freshness.recovered"]


def test_a_notice_to_a_channel_that_was_deleted_ends(told: Told) -> None:
    told.change()
    told.world.minute()
    told.world.call("register", "DELETE", f"{API}/channels/on_call")
    told.world.work()
    assert (told.delivery()["status"], told.asked(), told.are_open()) == ("refused", 0, [])


def test_a_channel_made_anew_under_the_same_name_does_not_get_what_waited_for_the_former(told: Told) -> None:
    told.refuse(503)
    told.change()
    told.world.minute()
    told.world.work_once()
    told.world.call("register", "DELETE", f"{API}/channels/on_call")
    told.put("on_call", SLACK)
    told.world.work()
    assert (told.delivery()["status"], told.events(), told.are_open()) == ("refused", [], [])


def test_what_waits_for_a_dead_channel_keeps_no_new_notice_from_the_others(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.services.notice_deliveries.MOST", 2)
    told.put("team", SLACK)
    told.server.fault(vendor="receivers", kind="status", path="/notices/", status=503, times=99)
    for message in ("first", "second", "the alert"):
        told.change(message=message, schedule_id=message)
        told.world.minute()
        for _ in range(2):  # both channels; what `on_call` refused is tried later
            told.world.work_once(newest=True)
    texts = [one["body"]["text"].split("\n")[0].removeprefix("*freshness.late* ") for one in told.received()]
    assert texts == ["first", "second", "the alert"]


def test_lost_tasks_are_found_in_turn_though_a_minute_looks_at_few(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.services.notice_deliveries.MOST", 2)
    for number in range(4):
        told.change(schedule_id=f"s{number}")
        told.world.minute()
    for _ in range(2):
        told.lose_tasks()
        told.world.fakes.clock.sleep(90)
        told.world.minute()
    told.world.work()
    assert sorted(one["body"]["subject"]["schedule_id"] for one in told.received()) == ["s2", "s3"]


def test_a_channel_hears_of_what_changes_after_it_was_made(told: Told) -> None:
    told.world.call("register", "DELETE", f"{API}/channels/on_call")
    told.change("freshness.late")
    told.world.minute()
    told.put("on_call", WEBHOOK)
    told.change("freshness.recovered")
    told.world.minute()
    told.world.work()
    assert (told.events(), told.are_open()) == (["freshness.recovered"], [])


def test_a_host_that_leads_into_a_private_network_is_never_called(told: Told, make_world: Callable[..., World]) -> None:
    inside = Told(make_world(**{**REACHING, "RESOLVER_TABLE": "hooks.example.org=10.0.0.7"}), told.server)
    inside.put("on_call", WEBHOOK)
    inside.change()
    inside.world.minute()
    inside.world.work()
    assert inside.delivery()["status"] == "refused"
    assert "an address that is not a public one" in inside.delivery()["reason"]
    assert told.asked() == 0


def test_a_redirect_is_not_followed(told: Told) -> None:
    told.refuse(307, Location="https://hooks.slack.com/services/T0/B0/elsewhere")
    told.change()
    told.world.minute()
    told.world.work()
    assert told.delivery()["status"] == "refused"
    assert "a redirect; redirects are not followed" in told.delivery()["reason"]
    assert told.asked() == 1


def test_of_a_refusal_without_end_only_the_beginning_is_kept(told: Told) -> None:
    told.refuse(400, "x" * 5_000_000)
    told.change()
    told.world.minute()
    told.world.work()
    assert "x" * 300 in told.delivery()["reason"]
    assert len(told.delivery()["reason"]) < 450


def test_the_minute_tells_though_something_else_of_it_fails(told: Told) -> None:
    told.change()
    told.world.services.freshness.__dict__["evaluate_all"] = lambda: 1 / 0
    with pytest.raises(AssertionError):
        told.world.minute()
    told.world.work()
    assert told.events() == ["freshness.late"]


def test_a_test_says_whether_the_channel_takes_notices(told: Told) -> None:
    answer = told.world.call("register", "POST", f"{API}/channels/on_call:test")
    assert (answer.status, answer.body["ok"], answer.body["message"]) == (200, True, None)
    told.refuse(403, "action_prohibited")
    answer = told.world.call("register", "POST", f"{API}/channels/on_call:test")
    assert (answer.status, answer.body["ok"]) == (200, False)
    assert "answered 403: action_prohibited" in answer.body["message"]
    (found,) = told.received()
    assert (found["body"]["event"], found["body"]["subject"]) == ("channel.test", {"channel": "on_call"})


def test_no_log_line_shows_a_url_that_is_a_secret(told: Told, capsys: pytest.CaptureFixture[str]) -> None:
    told.put("team", SLACK)
    told.world.call("register", "POST", f"{API}/channels/team:test")
    lines = [line for line in capsys.readouterr().out.splitlines() if '"vendor_call"' in line]
    assert [('"path":"(hidden)"' in line, "hooks.slack.com" in line) for line in lines] == [(True, True)]


MONTHLY = {
    "connector_name": "ymca_sheets",
    "cron_expression": "0 0 1 * *",
    "action": "export_and_refresh",
    "export": {"connector_name": "ymca_sheets", "table_name": "people"},
    "max_age": "26h",
}


def test_an_objective_missed_because_nothing_ran_reaches_people_once_and_so_does_its_recovery(told: Told) -> None:
    """The schedule's Cloud Scheduler job never fires; two and a half days are judged."""
    world = told.world
    world.fakes.objects.put("tables", "people.csv", b"id\n1\n")
    assert world.call("register", "POST", f"{API}/register", SHEETS).status == 201
    schedule_id = world.call("refresh", "POST", f"{API}/schedules", MONTHLY).body["id"]
    for _ in range(40 * 2):
        world.fakes.clock.sleep(1800)
        world.minute()
        world.work()
    assert told.events() == ["freshness.late"]
    world.fakes.objects.put("tables", "people.csv", b"id\n2\n")
    world.call("refresh", "POST", f"{API}/schedules/{schedule_id}:runNow")
    for _ in range(20 * 2):
        world.work()
        world.minute()
        world.fakes.clock.sleep(1800)
    assert told.events() == ["freshness.late", "freshness.recovered"]
    late, recovered = (one["body"] for one in told.received())
    assert late["at"] == "2026-01-06T14:30:00Z"
    assert (
        late["message"]
        == "no delivery of table 'people' on 'ymca_sheets' is known that went all the way; its schedule has gone there for more than 26h"
    )
    assert late["subject"] == recovered["subject"]
    assert recovered["at"][:10] == "2026-01-07"


def test_an_outage_of_all_of_cloud_scheduler_reaches_people_once_and_so_does_its_end(told: Told) -> None:
    """Neither the schedule's job nor the minute's is called for two days; then only the minute's."""
    world = told.world
    world.fakes.objects.put("tables", "people.csv", b"id\n1\n")
    assert world.call("register", "POST", f"{API}/register", SHEETS).status == 201
    daily = {**MONTHLY, "cron_expression": "0 13 * * *", "missed": "skip"}
    assert world.call("refresh", "POST", f"{API}/schedules", daily).status == 201
    for _ in range(3):
        world.minute()
    world.go_to("2026-01-07T15:00:00+00:00")
    world.fakes.objects.put("tables", "people.csv", b"id\n2\n")
    for _ in range(24 * 6):
        world.minute()
        world.work()
        world.fakes.clock.sleep(600)
    assert told.events() == ["freshness.late", "freshness.recovered"]
    assert [one["body"]["at"] for one in told.received()] == ["2026-01-07T15:00:00Z", "2026-01-08T13:20:00Z"]
