"""One behaviour of `Objects`, for the fake and for the adapter on Google's own client."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest

from shared.errors import SourceError, UnsupportedError
from shared.ports import Objects


def test_objects_are_read_by_generation(objects: Objects) -> None:
    name = f"{uuid.uuid4().hex}.bin"
    with objects.writer("one", name, content_type="application/octet-stream") as sink:
        sink.write(b"first version")
    first = objects.stat("one", name)
    assert first is not None
    assert (first.uri, first.size_bytes) == (f"gs://one/{name}", 13)
    with objects.open(first) as reader:
        reader.seek(6)
        assert reader.read(3) == b"ver"
    with objects.writer("one", name, content_type="application/octet-stream") as sink:
        sink.write(b"second")
    with pytest.raises(SourceError):
        objects.open(first)
    with pytest.raises(SourceError) as changed:
        objects.copy(first, "two", name)
    assert changed.value.code == "source_changed"
    assert objects.stat("two", name) is None


def test_a_copy_is_made_once(objects: Objects) -> None:
    name = f"{uuid.uuid4().hex}.bin"
    with objects.writer("one", name, content_type="application/octet-stream") as sink:
        sink.write(b"x" * 300_000)
    info = objects.stat("one", name)
    assert info is not None
    copied = objects.copy(info, "two", name)
    assert (copied.bucket, copied.size_bytes) == ("two", 300_000)
    assert objects.copy(info, "two", name) == copied
    objects.delete("one", name)
    objects.delete("one", name)
    assert objects.stat("one", name) is None
    with objects.open(copied) as reader:
        assert len(reader.read()) == 300_000


def test_objects_are_listed_by_prefix_and_name(objects: Objects) -> None:
    folder = uuid.uuid4().hex
    for name in ("b", "a", "Z", "ä", "aa/c"):
        with objects.writer("one", f"{folder}/{name}", content_type="text/plain") as sink:
            sink.write(name.encode())
    listed = objects.list_prefix("one", f"{folder}/", 100)
    assert [info.name.removeprefix(f"{folder}/") for info in listed] == ["Z", "a", "aa/c", "b", "ä"]
    assert listed[0] == objects.stat("one", f"{folder}/Z")
    assert listed[0].created_at is not None
    assert objects.list_prefix("one", f"{folder}/a", 100) == listed[1:3]
    assert len(objects.list_prefix("one", f"{folder}/", 2)) == 2
    assert objects.list_prefix("one", f"{folder}/none", 2) == []


def test_a_url_is_signed_by_service_accounts_only(objects: Objects) -> None:
    with objects.writer("one", "signed.csv", content_type="text/csv") as sink:
        sink.write(b"a")
    info = objects.stat("one", "signed.csv")
    assert info is not None
    with pytest.raises(UnsupportedError) as refused:
        objects.signed_url(info, "a.csv", timedelta(minutes=10))
    assert refused.value.code == "signing_unavailable"


def test_a_write_that_fails_leaves_no_object(objects: Objects) -> None:
    def fail() -> None:
        with objects.writer("one", "half.bin", content_type="text/plain") as sink:
            sink.write(b"half")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert objects.stat("one", "half.bin") is None
