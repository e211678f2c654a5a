"""How many documents accepting and a whole job read, on fakes: the calls, and what the receipt says."""

from __future__ import annotations

import pytest

from shared.errors import VendorUnavailableError
from tests.functional.conftest import World
from tests.functional.test_exports import API, EXPORT, job


def test_accepting_reads_documents_in_two_calls(registered: World) -> None:
    before = registered.fakes.documents.reads
    registered.call("export", "POST", f"{API}/export", EXPORT, Idempotency_Key="once")
    assert registered.fakes.documents.reads - before == 2  # connector, table, restore; in the transaction line and key


@pytest.mark.parametrize(("connector", "less"), [("ymca_sheets", 3), ("ymca_powerbi", 0)])
@pytest.mark.parametrize(("chunks", "tasks"), [(1, 1), (5, 1), (2, 3)])
def test_a_job_reads_as_many_documents_as_its_receipt_says(
    registered: World, connector: str, less: int, chunks: int, tasks: int
) -> None:
    registered.vendor.is_staged = connector == "ymca_sheets"
    registered.vendor.errors = [("write", VendorUnavailableError("busy", retry_after_s=3600.0))] * (tasks - 1)
    before = registered.fakes.documents.documents_read
    body = {**EXPORT, "connector_name": connector, "rows": [{"id": n} for n in range(2 * chunks)]}
    job_id = registered.call("export", "POST", f"{API}/export", body, Idempotency_Key="one").body["id"]
    registered.work()
    read = registered.fakes.documents.documents_read - before
    assert job(registered, job_id)["cost"]["documents_read"] == read + less
