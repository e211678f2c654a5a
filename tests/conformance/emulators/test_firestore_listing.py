"""Listing, deleting in bulk and writing in bulk with the real client."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.firestore_v1.types import firestore as messages

from tests.conformance.emulators.conftest import Connect


def test_documents_are_listed_with_those_that_only_have_children(db: firestore.Client) -> None:
    for path in ("things/a", "things/b", "things/c/deeper/x", "things/b/deeper/y"):
        db.document(path).set({"n": 1})
    assert [reference.id for reference in db.collection("things").list_documents()] == ["a", "b", "c"]
    assert [snapshot.id for snapshot in db.collection("things").stream()] == ["a", "b"]


def test_documents_are_listed_in_pages(db: firestore.Client) -> None:
    for number in range(5):
        db.document(f"things/{number}").set({"n": number})
    db.document("things/2b/deeper/x").set({"n": 1})
    request = {"parent": f"{db._database_string}/documents", "collection_id": "things", "page_size": 2}
    pager = db._firestore_api.list_documents(request={**request, "show_missing": True}, metadata=db._rpc_metadata)
    pages = [[document.name.rpartition("/")[2] for document in page.documents] for page in pager.pages]
    assert [page for page in pages if page] == [
        ["0", "1"],
        ["2", "2b"],
        ["3", "4"],
    ]  # Google's emulator ends on an empty page


def test_collections_are_listed_where_a_document_lies_in_them_or_below(db: firestore.Client) -> None:
    for path in ("b/1", "a/1/x/1", "a/1/y/1/z/1"):
        db.document(path).set({"n": 1})
    assert [collection.id for collection in db.collections()] == ["a", "b"]
    assert [collection.id for collection in db.document("a/1").collections()] == ["x", "y"]
    assert [collection.id for collection in db.document("b/1").collections()] == []
    db.document("b/1").delete()
    assert [collection.id for collection in db.collections()] == ["a"]


def test_collections_are_listed_in_pages(db: firestore.Client) -> None:
    for number in range(5):
        db.document(f"c{number}/1").set({"n": 1})
    parent = f"{db._database_string}/documents"
    pager = db._firestore_api.list_collection_ids(request={"parent": parent, "page_size": 2}, metadata=db._rpc_metadata)
    assert [list(page.collection_ids) for page in pager.pages] == [["c0", "c1"], ["c2", "c3"], ["c4"]]


def test_recursive_delete_takes_everything_below_and_nothing_else(db: firestore.Client) -> None:
    for path in ("a/1", "a/1/x/1", "a/1/x/1/y/1", "a/2/x/1", "a-b/1", "b/1"):
        db.document(path).set({"n": 1})
    db.recursive_delete(db.document("a/1"))
    assert [reference.id for reference in db.collection("a").list_documents()] == ["2"]
    db.recursive_delete(db.collection("a"))
    db.document("b/1/only/1").set({"n": 1})
    db.recursive_delete(db.collection("b/1/only"))
    assert db.document("b/1").get().exists
    assert not db.document("b/1/only/1").get().exists
    assert [collection.id for collection in db.collections()] == ["a-b", "b"]


def test_bulk_writer_writes_what_it_can_and_reports_the_rest(db: firestore.Client) -> None:
    db.document("things/taken").set({"n": 0})
    failed: list[tuple[str, int]] = []
    writer = db.bulk_writer()

    def note(failure: Any, _writer: Any) -> bool:
        failed.append((failure.operation.reference.id, failure.code))
        return False

    writer.on_write_error(note)
    for number in range(50):
        writer.create(db.document(f"things/{number:02}"), {"n": number})
    writer.create(db.document("things/taken"), {"n": 1})
    writer.close()
    assert failed == [("taken", grpc.StatusCode.ALREADY_EXISTS.value[0])]
    assert db.collection("things").count().get()[0][0].value == 51
    assert db.document("things/taken").get().get("n") == 0


def test_bulk_writer_reads_back_after_many_updates(db: firestore.Client) -> None:
    writer = db.bulk_writer()
    for number in range(30):
        writer.set(db.document(f"things/{number:02}"), {"n": 0})
    writer.flush()
    for number in range(30):
        writer.update(db.document(f"things/{number:02}"), {"n": firestore.Increment(number)})
    writer.close()
    assert db.collection("things").sum("n").get()[0][0].value == 435


def test_the_raw_methods_of_one_document(db: firestore.Client) -> None:
    api, root = db._firestore_api, f"{db._database_string}/documents"
    fields = {"n": {"integer_value": 1}, "m": {"integer_value": 1}}
    made = api.create_document(
        request={"parent": root, "collection_id": "things", "document_id": "a", "document": {"fields": fields}}
    )
    assert made.name == f"{root}/things/a"
    with pytest.raises(exceptions.AlreadyExists):
        api.create_document(request={"parent": root, "collection_id": "things", "document_id": "a", "document": {}})
    document = {"name": made.name, "fields": {"n": {"integer_value": 2}}}
    api.update_document(request={"document": document, "update_mask": {"field_paths": ["n"]}})
    assert db.document("things/a").get().to_dict() == {"n": 2, "m": 1}
    assert api.get_document(request={"name": made.name, "mask": {"field_paths": ["m"]}}).fields["m"].integer_value == 1
    api.delete_document(request={"name": made.name})
    with pytest.raises(exceptions.NotFound):
        api.get_document(request={"name": made.name})


def test_a_write_into_another_database_is_refused(db: firestore.Client, connect: Connect, own_emulator: None) -> None:
    other = connect(database="other")
    batch = db.batch()
    batch.set(other.document("things/a"), {"n": 1})
    with pytest.raises(exceptions.InvalidArgument):
        batch.commit()


def test_what_is_not_imitated_names_the_method(db: firestore.Client, own_emulator: None) -> None:
    with pytest.raises(exceptions.MethodNotImplemented, match=r"google\.firestore\.v1\.Firestore/PartitionQuery"):
        list(db.collection_group("things").get_partitions(2))
    with pytest.raises(exceptions.MethodNotImplemented, match=r"google\.firestore\.v1\.Firestore/Listen"):
        list(db._firestore_api.listen(iter([messages.ListenRequest(database=db._database_string)])))


def test_async_listing(connect: Connect) -> None:
    async def use() -> tuple[list[str], list[str]]:
        client = connect(firestore.AsyncClient)
        await client.document("things/a").set({"n": 1})
        await client.document("things/b/deeper/c").set({"n": 1})
        names = [reference.id async for reference in client.collection("things").list_documents()]
        return names, [collection.id async for collection in client.collections()]

    assert asyncio.run(use()) == (["a", "b"], ["things"])
