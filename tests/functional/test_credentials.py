"""Credentials that no connector uses do not outlive an hour, and those in use are never touched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from shared.data.backup import lines
from shared.data.restore import restore
from shared.errors import InternalError
from tests.functional.conftest import POWER_BI, SHEETS, World

API = "/api/bi-connectors"


def kept(world: World) -> list[str]:
    payloads = world.fakes.secrets.payloads
    return sorted(name.split("/secrets/")[1] for name, payload in payloads.items() if payload is not None)


def after(world: World, minutes: int) -> World:
    world.fakes.clock.sleep(60 * minutes)
    world.sweep()
    return world


def rotate(world: World) -> None:
    etag = world.call("register", "GET", f"{API}/ymca_powerbi").headers["ETag"]
    answer = world.call("register", "PATCH", f"{API}/ymca_powerbi", {"client_secret": "the-next-one"}, If_Match=etag)
    assert answer.status == 200, answer.body


SHEETS_KEPT = "bi-connector-ymca_sheets/versions/1"


def test_credentials_of_a_register_that_fails_later_are_gone_within_the_hour(world: World) -> None:
    assert world.call("register", "POST", f"{API}/register", SHEETS).status == 201
    documents = world.fakes.documents
    inner = documents.transact
    documents.transact = lambda work: (_ for _ in ()).throw(InternalError("the process dies here"))  # type: ignore[method-assign]
    assert world.call("register", "POST", f"{API}/register", POWER_BI).status == 500
    documents.transact = inner  # type: ignore[method-assign]
    assert kept(world) == ["bi-connector-ymca_powerbi/versions/1", SHEETS_KEPT]
    assert kept(after(world, 59)) == ["bi-connector-ymca_powerbi/versions/1", SHEETS_KEPT]
    assert kept(after(world, 2)) == [SHEETS_KEPT]


def test_a_database_that_lost_its_documents_keeps_its_credentials_until_they_are_restored(registered: World) -> None:
    documents = registered.fakes.documents
    saved = list(lines(documents))
    documents._documents.clear()
    before = kept(registered)
    assert len(before) == 2
    assert kept(after(registered, 120)) == before

    def half() -> Iterator[bytes]:
        """A sweep that began before the restore finds half of the connectors."""
        for line in saved:
            yield line
            if line.startswith(b'["connectors/'):
                assert registered.services.credentials.sweep() == 0

    assert restore(documents, half()) == len(saved) - 1
    assert kept(after(registered, 120)) == before


def test_a_rotated_version_serves_running_jobs_for_an_hour(registered: World) -> None:
    after(registered, 600)
    rotate(registered)
    both = ["bi-connector-ymca_powerbi/versions/1", "bi-connector-ymca_powerbi/versions/2"]
    assert kept(after(registered, 59))[:2] == both
    assert kept(after(registered, 2)) == [both[1], "bi-connector-ymca_sheets/versions/1"]


def test_credentials_in_use_stay(registered: World) -> None:
    before = kept(registered)
    assert kept(after(registered, 10_000)) == before


def test_secrets_of_others_are_not_touched(registered: World) -> None:
    registered.fakes.secrets.add("somebody-elses", b"x")
    registered.fakes.secrets.add("bi-other", b"x")
    assert {"somebody-elses/versions/1", "bi-other/versions/1"} <= set(kept(after(registered, 10_000)))


@pytest.mark.parametrize("force", ["", "?force=true"])
def test_deleting_a_connector_deletes_its_credentials(registered: World, force: str) -> None:
    assert registered.call("register", "DELETE", f"{API}/ymca_powerbi{force}").status == 204
    assert [name for name in kept(registered) if "powerbi" in name] == []


def test_a_change_that_is_refused_leaves_no_credentials(registered: World) -> None:
    path, before = f"{API}/ymca_powerbi", kept(registered)
    change = {"client_secret": "the-next-one"}
    assert registered.call("register", "PATCH", path, change, If_Match='"1.000000001"').status == 412
    assert kept(registered) == before


def test_a_register_that_loses_a_race_leaves_no_credentials(world: World) -> None:
    documents = world.fakes.documents
    inner = documents.transact

    def late(work: Any) -> Any:
        """Another request registers the name between this one's look and its write."""
        documents.transact = inner  # type: ignore[method-assign]
        assert world.call("register", "POST", f"{API}/register", {**POWER_BI, "client_id": "other"}).status == 201
        return inner(work)

    documents.transact = late  # type: ignore[method-assign]
    assert world.call("register", "POST", f"{API}/register", POWER_BI).status == 409
    assert kept(world) == ["bi-connector-ymca_powerbi/versions/2"]
    assert world.call("register", "GET", f"{API}/ymca_powerbi").body["credentials"].endswith("/versions/2")


def test_every_former_version_goes_in_its_own_hour_however_often_one_rotates(registered: World) -> None:
    for _ in range(4):
        after(registered, 50)
        rotate(registered)
    assert [name for name in kept(after(registered, 15)) if "powerbi" in name] == [
        f"bi-connector-ymca_powerbi/versions/{number}" for number in (4, 5)
    ]


def test_a_version_that_another_connector_names_stays(registered: World) -> None:
    version = registered.fakes.secrets.add("bi-connector-shared", b'{"client_secret": "one for all"}')
    body = {key: value for key, value in POWER_BI.items() if key != "client_secret"}
    other = {**body, "name": "other", "credentials_secret": version}
    assert registered.call("register", "POST", f"{API}/register", other).status == 201
    assert "bi-connector-shared/versions/1" in kept(after(registered, 10_000))


def apply(world: World, reference: str, **changes: str) -> None:
    config = {key: value for key, value in POWER_BI.items() if key != "client_secret"}
    body = {"connectors": [{**config, **changes, "credentials_secret": reference}]}
    answer = world.call("refresh", "POST", f"{API}/apply", body)
    assert (answer.status, [item["outcome"] for item in answer.body["items"]]) == (200, ["done"]), answer.body


def test_applying_a_connector_with_the_version_that_it_names_keeps_it(registered: World) -> None:
    before = kept(registered)
    reference = registered.call("register", "GET", f"{API}/ymca_powerbi").body["credentials"]
    apply(registered, reference, refresh_dataset_id="11111111-2222-4333-8444-555555555555")
    assert kept(after(registered, 10_000)) == before
    assert registered.call("register", "DELETE", f"{API}/ymca_powerbi").status == 204
    assert [name for name in kept(registered) if "powerbi" in name] == []


def test_a_version_that_an_apply_replaces_serves_running_jobs_for_an_hour(registered: World) -> None:
    after(registered, 600)
    apply(registered, registered.fakes.secrets.add("mine", b'{"client_secret": "one of mine"}'))
    assert "bi-connector-ymca_powerbi/versions/1" in kept(after(registered, 59))
    assert "bi-connector-ymca_powerbi/versions/1" not in kept(after(registered, 2))


def named_by_another(world: World, version: str) -> None:
    body = {name: value for name, value in POWER_BI.items() if name != "client_secret"}
    borrowed = {**body, "name": "borrower", "credentials_secret": version}
    answer = world.call("register", "POST", f"{API}/register", borrowed)
    assert answer.status == 201, answer.body


def test_a_secret_that_another_connector_names_outlives_its_own(registered: World) -> None:
    """The version that is named stays while it is named; the sweep destroys the others, and that one afterwards."""
    first = registered.fakes.documents.get("connectors/ymca_powerbi").data["credentials"]  # type: ignore[union-attr]
    named_by_another(registered, first)
    rotate(registered)
    assert registered.call("register", "DELETE", f"{API}/ymca_powerbi").status == 204
    assert "bi-connector-ymca_powerbi/versions/1" in kept(registered)
    left = [name for name in kept(after(registered, 120)) if "powerbi" in name]
    assert left == ["bi-connector-ymca_powerbi/versions/1"]
    assert registered.call("register", "POST", f"{API}/borrower/test").body["ok"]
    assert registered.call("register", "DELETE", f"{API}/borrower").status == 204
    assert not [name for name in kept(after(registered, 120)) if "powerbi" in name]


def test_a_version_named_with_the_projects_number_is_in_use_too(registered: World) -> None:
    """Secret Manager says the number where people write the name."""
    payloads = registered.fakes.secrets.payloads
    name = "projects/123456/secrets/bi-connector-ymca_powerbi/versions/1"
    payloads[name] = payloads["projects/fake/secrets/bi-connector-ymca_powerbi/versions/1"]
    named_by_another(registered, name)
    rotate(registered)
    assert "bi-connector-ymca_powerbi/versions/1" in kept(after(registered, 600))
    assert registered.fakes.secrets.payloads["projects/fake/secrets/bi-connector-ymca_powerbi/versions/1"] is not None


def test_the_secret_of_a_channel_that_a_connector_names_is_kept(registered: World) -> None:
    channel = {"type": "slack", "url": "https://hooks.slack.com/services/T0/B0/x"}
    assert registered.call("register", "PUT", f"{API}/channels/team", channel).status == 201
    version = registered.fakes.documents.get("channels/team").data["credentials"]  # type: ignore[union-attr]
    registered.fakes.secrets.payloads[version] = b'{"client_secret": "of-both", "url": "https://hooks.slack.com/x"}'
    named_by_another(registered, version)
    assert registered.call("register", "DELETE", f"{API}/channels/team").status == 204
    assert "bi-channel-team/versions/1" in kept(registered)
