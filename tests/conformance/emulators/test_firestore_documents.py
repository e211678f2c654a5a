"""Reading and writing documents with the real client."""

from __future__ import annotations

import asyncio
import datetime as dt
import math

import pytest
from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.firestore_v1 import DocumentSnapshot, FieldFilter, GeoPoint
from google.cloud.firestore_v1.vector import Vector

from tests.conformance.emulators.conftest import Connect

EVERY_TYPE = {
    "null": None,
    "flag": True,
    "integer": -(2**63),
    "big": 2**63 - 1,
    "double": 1.5,
    "text": "häuser\x00 und 🏠",
    "bytes": b"\x00\xff",
    "time": dt.datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=dt.UTC),
    "place": GeoPoint(48.2, 16.37),
    "list": [1, "two", {"three": 3}],
    "map": {"a": {"b.c": 1, "d e": [True]}},
    "empty_list": [],
    "empty_map": {},
    "vector": Vector([1.0, 2.0]),
}


def test_every_type_comes_back_as_it_was_set(db: firestore.Client) -> None:
    document = db.document("things/one")
    document.set({**EVERY_TYPE, "reference": db.document("other/x")})
    stored = document.get().to_dict()
    assert stored.pop("reference").path == "other/x"
    assert stored == EVERY_TYPE


def test_nan_and_infinities_come_back(db: firestore.Client) -> None:
    db.document("things/one").set({"nan": math.nan, "inf": math.inf, "neg": -math.inf})
    stored = db.document("things/one").get().to_dict()
    assert math.isnan(stored["nan"])
    assert stored["inf"] == math.inf
    assert stored["neg"] == -math.inf


def test_a_missing_document_is_a_snapshot_that_does_not_exist(db: firestore.Client) -> None:
    snapshot: DocumentSnapshot = db.document("things/none").get()
    assert not snapshot.exists
    assert snapshot.to_dict() is None
    assert snapshot.read_time is not None


def test_set_replaces_the_whole_document(db: firestore.Client) -> None:
    db.document("things/one").set({"a": 1, "b": 2})
    db.document("things/one").set({"c": 3})
    assert db.document("things/one").get().to_dict() == {"c": 3}


def test_set_with_merge_keeps_other_fields_also_inside_maps(db: firestore.Client) -> None:
    db.document("things/one").set({"a": {"x": 1, "y": 2}, "b": 1})
    db.document("things/one").set({"a": {"x": 9}}, merge=True)
    assert db.document("things/one").get().to_dict() == {"a": {"x": 9, "y": 2}, "b": 1}


def test_set_with_merge_of_named_fields_writes_only_those(db: firestore.Client) -> None:
    db.document("things/one").set({"a": 1, "b": 1})
    db.document("things/one").set({"a": 2, "b": 2}, merge=["a"])
    assert db.document("things/one").get().to_dict() == {"a": 2, "b": 1}


def test_merge_makes_a_missing_document(db: firestore.Client) -> None:
    db.document("things/new").set({"a": 1}, merge=True)
    assert db.document("things/new").get().to_dict() == {"a": 1}


def test_update_takes_dotted_paths_and_deletes_fields(db: firestore.Client) -> None:
    db.document("things/one").set({"a": {"x": 1, "y": 2}, "b": 1, "gone": 1})
    db.document("things/one").update({"a.x": 5, "a.z": 6, "gone": firestore.DELETE_FIELD})
    assert db.document("things/one").get().to_dict() == {"a": {"x": 5, "y": 2, "z": 6}, "b": 1}


def test_update_takes_quoted_field_names(db: firestore.Client) -> None:
    db.document("things/one").set({"a b": {"c.d": 1, "`": 2}})
    db.document("things/one").update({"`a b`.`c.d`": 7, "`a b`.`\\``": 8})
    assert db.document("things/one").get().to_dict() == {"a b": {"c.d": 7, "`": 8}}


def test_update_of_a_missing_document_is_not_found(db: firestore.Client) -> None:
    with pytest.raises(exceptions.NotFound):
        db.document("things/none").update({"a": 1})
    assert not db.document("things/none").get().exists


def test_delete_removes_and_may_be_repeated(db: firestore.Client) -> None:
    db.document("things/one").set({"a": 1})
    db.document("things/one").delete()
    db.document("things/one").delete()
    assert not db.document("things/one").get().exists


def test_create_of_an_existing_document_conflicts(db: firestore.Client) -> None:
    db.document("things/one").create({"a": 1})
    with pytest.raises(exceptions.AlreadyExists):
        db.document("things/one").create({"a": 2})
    assert db.document("things/one").get().to_dict() == {"a": 1}


def test_add_gives_an_id(db: firestore.Client) -> None:
    _, reference = db.collection("things").add({"a": 1})
    assert len(reference.id) == 20
    assert reference.get().to_dict() == {"a": 1}


def test_update_time_precondition_lets_only_the_first_writer_through(db: firestore.Client) -> None:
    db.document("things/one").set({"n": 1})
    seen = db.document("things/one").get().update_time
    db.document("things/one").update({"n": 2}, option=db.write_option(last_update_time=seen))
    with pytest.raises(exceptions.FailedPrecondition):
        db.document("things/one").update({"n": 3}, option=db.write_option(last_update_time=seen))
    assert db.document("things/one").get().to_dict() == {"n": 2}


def test_stale_update_time_refuses_a_delete(db: firestore.Client) -> None:
    db.document("things/one").set({"n": 1})
    seen = db.document("things/one").get().update_time
    db.document("things/one").set({"n": 2})
    with pytest.raises(exceptions.FailedPrecondition):
        db.document("things/one").delete(option=db.write_option(last_update_time=seen))
    assert db.document("things/one").get().exists


def test_delete_that_demands_existence_is_not_found(db: firestore.Client) -> None:
    with pytest.raises(exceptions.NotFound):
        db.document("things/none").delete(option=db.write_option(exists=True))


def test_times_of_a_document(db: firestore.Client) -> None:
    first = db.document("things/one").set({"n": 1})
    second = db.document("things/one").set({"n": 2})
    snapshot = db.document("things/one").get()
    assert snapshot.create_time == first.update_time
    assert snapshot.update_time == second.update_time
    assert first.update_time < second.update_time <= snapshot.read_time


def test_a_write_that_changes_nothing_keeps_the_update_time(db: firestore.Client) -> None:
    first = db.document("things/one").set({"n": 1})
    again = db.document("things/one").set({"n": 1})
    assert again.update_time == first.update_time
    assert db.document("things/one").get().update_time == first.update_time


def test_a_failing_batch_leaves_nothing(db: firestore.Client) -> None:
    db.document("things/taken").set({"a": 1})
    batch = db.batch()
    batch.set(db.document("things/first"), {"a": 1})
    batch.delete(db.document("things/taken"))
    batch.update(db.document("things/none"), {"a": 1})
    with pytest.raises(exceptions.NotFound):
        batch.commit()
    assert not db.document("things/first").get().exists
    assert db.document("things/taken").get().to_dict() == {"a": 1}


def test_a_batch_may_hold_more_than_500_writes_of_one_time(db: firestore.Client) -> None:
    batch = db.batch()
    for number in range(600):
        batch.set(db.document(f"things/{number:03}"), {"n": number})
    results = batch.commit()
    assert len({result.update_time for result in results}) == 1
    assert db.collection("things").count().get()[0][0].value == 600


def test_writes_of_one_batch_to_one_document_apply_in_order(db: firestore.Client) -> None:
    batch = db.batch()
    batch.create(db.document("things/one"), {"n": 1})
    batch.update(db.document("things/one"), {"m": 2})
    batch.commit()
    assert db.document("things/one").get().to_dict() == {"n": 1, "m": 2}


def test_server_timestamp_is_the_same_in_a_whole_batch(db: firestore.Client) -> None:
    batch = db.batch()
    batch.set(db.document("things/a"), {"at": firestore.SERVER_TIMESTAMP, "in": {"at": firestore.SERVER_TIMESTAMP}})
    batch.set(db.document("things/b"), {"at": firestore.SERVER_TIMESTAMP})
    batch.commit()
    first, second = db.document("things/a").get().to_dict(), db.document("things/b").get().to_dict()
    assert first["at"] == first["in"]["at"] == second["at"]
    assert abs(first["at"] - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=1)


def test_increment_adds_sets_and_saturates(db: firestore.Client) -> None:
    db.document("things/one").set({"n": 1, "text": "x", "big": 2**63 - 1, "d": 0.5})
    up = firestore.Increment(2)
    db.document("things/one").update({"n": up, "text": up, "new": up, "big": up, "d": up})
    assert db.document("things/one").get().to_dict() == {"n": 3, "text": 2, "new": 2, "big": 2**63 - 1, "d": 2.5}


def test_array_union_and_remove(db: firestore.Client) -> None:
    db.document("things/one").set({"a": [1, 2, 2], "b": [1, 2, 1, 3], "c": "text"})
    union, remove = firestore.ArrayUnion([2.0, 3, 3]), firestore.ArrayRemove([1])
    db.document("things/one").update({"a": union, "b": remove, "c": union, "d": remove})
    stored = db.document("things/one").get().to_dict()
    assert stored == {"a": [1, 2, 2, 3], "b": [2, 3], "c": [2.0, 3], "d": []}


def test_maximum_and_minimum_keep_an_equal_stored_number(db: firestore.Client) -> None:
    db.document("things/one").set({"a": 3, "b": 3, "c": 3, "d": "text"})
    db.document("things/one").update(
        {"a": firestore.Maximum(5.5), "b": firestore.Minimum(4), "c": firestore.Maximum(3.0), "d": firestore.Minimum(1)}
    )
    stored = db.document("things/one").get().to_dict()
    assert stored == {"a": 5.5, "b": 3, "c": 3, "d": 1}
    assert isinstance(stored["c"], int)


def test_get_with_field_paths_masks(db: firestore.Client) -> None:
    db.document("things/one").set({"a": {"x": 1, "y": 2}, "b": 3})
    assert db.document("things/one").get(["a.x"]).to_dict() == {"a": {"x": 1}}


def test_get_all_finds_and_misses(db: firestore.Client) -> None:
    db.document("things/a").set({"n": 1})
    snapshots = {s.id: s.exists for s in db.get_all([db.document("things/a"), db.document("things/b")])}
    assert snapshots == {"a": True, "b": False}


def test_one_mebibyte_is_the_limit(db: firestore.Client) -> None:
    db.document("things/fits").set({"x": b"a" * 1_048_000})
    with pytest.raises(exceptions.InvalidArgument, match=r"maximum .*size"):
        db.document("things/large").set({"x": b"a" * 600_000, "y": "b" * 600_000})
    with pytest.raises(exceptions.InvalidArgument, match="longer than 1048487 bytes"):
        db.document("things/large").set({"x": b"a" * 1_048_576})
    assert not db.document("things/large").get().exists


@pytest.mark.parametrize("identifier", ["__reserved__", ".", "..", "x" * 1501])
def test_invalid_ids_are_refused(db: firestore.Client, identifier: str) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        db.collection("things").document(identifier).set({"a": 1})


def test_an_array_directly_in_an_array_is_refused(db: firestore.Client) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        db.document("things/one").set({"a": [[1]]})
    db.document("things/one").set({"a": [{"b": [1]}]})
    assert db.document("things/one").get().to_dict() == {"a": [{"b": [1]}]}


def test_more_than_20_levels_are_refused(db: firestore.Client) -> None:
    nested: dict[str, object] = {"leaf": 1}
    for _ in range(21):
        nested = {"in": nested}
    with pytest.raises(exceptions.InvalidArgument):
        db.document("things/deep").set(nested)


def test_named_databases_are_apart(connect: Connect) -> None:
    default, other = connect(), connect(database="other")
    default.document("things/one").set({"where": "default"})
    other.document("things/one").set({"where": "other"})
    other.document("things/two").set({"where": "other"})
    assert default.document("things/one").get().to_dict() == {"where": "default"}
    assert [d.id for d in default.collection("things").stream()] == ["one"]
    assert [d.id for d in other.collection("things").stream()] == ["one", "two"]


def test_async_client_reads_writes_and_queries(connect: Connect) -> None:
    async def use() -> tuple[object, list[str]]:
        client = connect(firestore.AsyncClient)
        await client.document("things/one").set({"n": 1})
        await client.document("things/one").update({"n": firestore.Increment(1)})
        names = [d.id async for d in client.collection("things").where(filter=FieldFilter("n", "==", 2)).stream()]
        return (await client.document("things/one").get()).to_dict(), names

    assert asyncio.run(use()) == ({"n": 2}, ["one"])
