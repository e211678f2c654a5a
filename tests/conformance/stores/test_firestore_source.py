"""Firestore as a source: Google's client on the emulator."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest
from google.cloud import firestore

from infra.local.ports import Ports
from shared.errors import SourceError
from shared.ports import CollectionName, GeoPoint, Reference
from shared.stores.firestore_source import FirestoreCollections

AT = dt.datetime(2024, 3, 31, 1, 30, 0, 123456, tzinfo=dt.UTC)


@pytest.fixture
def client(emulators: Ports, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", emulators.address("firestore"))
    return firestore.Client(project=f"test-{uuid.uuid4().hex[:12]}")


def name(client: Any, path: str = "cities", *, group: bool = False) -> CollectionName:
    return CollectionName(client.project, "(default)", path, group)


def ids(found: Any) -> list[str]:
    return [document.path for document in found]


def now(client: Any) -> dt.datetime:
    """A moment of the server's, after everything written so far."""
    written = client.document("clock/now").set({"a": 1})
    moment: dt.datetime = written.update_time
    return moment


def test_every_type_arrives_without_the_client_s_own(client: Any) -> None:
    fields = {
        "s": "x", "i": 2**60, "d": 0.5, "b": True, "t": AT, "n": None, "y": b"\x00", "m": {"l": [1, {"t": AT}]},
        "g": firestore.GeoPoint(52.5, 13.4), "r": client.document("people/7"),
    }  # fmt: skip
    client.document("cities/a").set(fields)
    (document,) = FirestoreCollections().read(name(client), now(client), None, 10)
    assert document.fields == {**fields, "g": GeoPoint(52.5, 13.4), "r": Reference("people/7")}
    assert type(document.fields["t"]) is dt.datetime


def test_documents_come_in_order_from_where_a_read_stopped(client: Any) -> None:
    for key in ("c", "a", "b", "d"):
        client.document(f"cities/{key}").set({"n": 1})
    client.document("cities/a/deep/x").set({"n": 1})
    at, source = now(client), FirestoreCollections()
    assert ids(source.read(name(client), at, None, 2)) == ["cities/a", "cities/b"]
    assert ids(source.read(name(client), at, "cities/b", 2)) == ["cities/c", "cities/d"]
    assert ids(source.read(name(client), at, "cities/d", 2)) == []


def test_what_was_written_later_is_not_seen(client: Any) -> None:
    client.document("cities/a").set({"n": 1})
    at = now(client)
    client.document("cities/a").set({"n": 2})
    client.document("cities/b").set({"n": 3})
    assert [document.fields for document in FirestoreCollections().read(name(client), at, None, 9)] == [{"n": 1}]


def test_a_group_is_read_in_order_of_paths(client: Any) -> None:
    for path in ("b/1/marks/y", "a/2/marks/x", "marks/z", "a/1/other/x"):
        client.document(path).set({"n": 1})
    at, source = now(client), FirestoreCollections()
    group = name(client, "marks", group=True)
    assert ids(source.read(group, at, None, 2)) == ["a/2/marks/x", "b/1/marks/y"]
    assert ids(source.read(group, at, "b/1/marks/y", 2)) == ["marks/z"]


def test_a_moment_of_more_than_an_hour_ago_is_explained(client: Any) -> None:
    client.document("cities/a").set({"n": 1})
    old = now(client) - dt.timedelta(hours=2)
    with pytest.raises(SourceError, match=r"keeps one hour of versions.*point-in-time recovery") as refused:
        list(FirestoreCollections().read(name(client), old, None, 9))
    assert refused.value.code == "read_time_too_old"
