"""Channels over HTTP on fakes: what is kept where, and which URLs are taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shared.errors import InternalError
from tests.functional.conftest import World
from tests.functional.receiving import API, REACHING, SECRET, SLACK, WEBHOOK

PATH = f"{API}/channels/on_call"


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world(**REACHING)


def put(world: World, body: dict[str, Any] = WEBHOOK, **headers: str) -> Any:
    return world.call("register", "PUT", PATH, body, **headers)


def kept(world: World) -> list[str]:
    """Return the versions of secrets that can be read."""
    return [n.split("/secrets/")[1] for n, payload in world.fakes.secrets.payloads.items() if payload is not None]


def test_a_channel_is_made_then_replaced_and_shows_only_its_host(world: World) -> None:
    made, again = put(world), put(world)
    assert (made.status, again.status) == (201, 200)
    assert made.headers["Location"] == PATH
    assert made.body == {
        "name": "on_call",
        "type": "webhook",
        "host": "hooks.example.org",
        "created_at": "2026-01-05T12:00:00Z",
        "updated_at": "2026-01-05T12:00:00Z",
    }
    assert world.call("register", "GET", PATH).body == again.body
    assert world.call("register", "GET", f"{API}/channels").body["channels"] == [again.body]


def test_url_and_secret_are_in_secret_manager_alone(world: World) -> None:
    put(world, SLACK)
    assert b"canary-of-slack" in (
        world.fakes.secrets.payloads["projects/fake/secrets/bi-channel-on_call/versions/1"] or b""
    )
    assert "services/T0AAAA" not in world.left()


def test_the_same_secret_again_makes_no_version_and_another_destroys_the_former(world: World) -> None:
    put(world)
    put(world)
    assert kept(world) == ["bi-channel-on_call/versions/1"]
    put(world, {**WEBHOOK, "secret": SECRET[::-1]})
    assert kept(world) == ["bi-channel-on_call/versions/2"]


def test_deleting_a_channel_deletes_its_secrets(world: World) -> None:
    put(world)
    put(world, {**WEBHOOK, "secret": SECRET[::-1]})
    assert world.call("register", "DELETE", PATH).status == 204
    assert [name for name in world.fakes.secrets.payloads if "channel" in name] == []
    assert world.call("register", "GET", PATH).status == 404


def test_a_put_that_dies_before_its_document_leaves_no_secret_for_over_an_hour(world: World) -> None:
    assert world.call("register", "PUT", f"{API}/channels/another", WEBHOOK).status == 201
    documents, inner = world.fakes.documents, world.fakes.documents.transact
    documents.transact = lambda work: (_ for _ in ()).throw(InternalError("the process dies here"))  # type: ignore[method-assign]
    assert put(world).status == 500
    documents.transact = inner  # type: ignore[method-assign]
    assert kept(world) == ["bi-channel-another/versions/1", "bi-channel-on_call/versions/1"]
    world.fakes.clock.sleep(61 * 60)
    world.sweep()
    assert kept(world) == ["bi-channel-another/versions/1"]


def test_the_sweep_leaves_the_secret_of_a_channel_alone(world: World) -> None:
    put(world)
    world.fakes.clock.sleep(90 * 60)
    world.sweep()
    assert kept(world) == ["bi-channel-on_call/versions/1"]


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://hooks.example.org/notices/bi", "url_not_allowed"),
        ("https://hooks.example.org:8443/notices/bi", "url_not_allowed"),
        ("https://user:pw@hooks.example.org/x", "url_not_allowed"),
        ("https://169.254.169.254/computeMetadata/v1/", "url_not_allowed"),
        ("https://metadata.google.internal/computeMetadata/v1/", "host_not_allowed"),
        ("https://hooks.example.org.evil.com/x", "host_not_allowed"),
    ],
)
def test_a_url_that_may_not_be_called_is_refused_and_nothing_kept(world: World, url: str, code: str) -> None:
    answer = put(world, {**WEBHOOK, "url": url})
    assert (answer.status, answer.body["code"]) == (422, code)
    assert kept(world) == []


@pytest.mark.parametrize("start", ["http://", "", "https://me:canary-of-slack@", "//", "https:/"])
def test_a_refusal_does_not_repeat_the_path_which_may_be_a_secret(world: World, start: str) -> None:
    answer = put(world, {**SLACK, "url": f"{start}hooks.slack.com/services/T0AAAA/B0BBBB/canary-of-slack"})
    assert (answer.status, answer.body["code"]) == (422, "url_not_allowed")
    assert "services" not in answer.body["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {"type": "webhook", "url": WEBHOOK["url"]},
        {**WEBHOOK, "secret": "short"},
        {**SLACK, "secret": SECRET},
        {**WEBHOOK, "type": "pager"},
        {**WEBHOOK, "headers": {"X-Key": "1"}},
    ],
)
def test_a_channel_of_another_form_is_refused(world: World, body: dict[str, Any]) -> None:
    assert put(world, body).status == 400


def test_a_channel_that_changed_since_it_was_read_is_not_replaced_nor_deleted(world: World) -> None:
    read = put(world).headers["ETag"]
    put(world, SLACK, If_Match=read)
    assert put(world, WEBHOOK, If_Match=read).status == 412
    assert world.call("register", "DELETE", PATH, If_Match=read).status == 412
    assert world.call("register", "GET", PATH).body["type"] == "slack"


def test_there_are_at_most_twenty_channels(world: World) -> None:
    for number in range(20):
        assert world.call("register", "PUT", f"{API}/channels/c{number}", SLACK).status == 201
    answer = put(world)
    assert (answer.status, answer.body["code"]) == (409, "too_many_channels")
    assert world.call("register", "PUT", f"{API}/channels/c7", WEBHOOK).status == 200


@pytest.mark.parametrize("name", ["test", "On-Call", "schedules", "a" * 64])
def test_a_word_of_the_apis_paths_is_no_name(world: World, name: str) -> None:
    assert world.call("register", "PUT", f"{API}/channels/{name}", WEBHOOK).status == 404
