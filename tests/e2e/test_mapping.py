"""A DataFrame through the client into a real sheet and back: mapped, held to a contract, its rejects replayed."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pytest
from pandas.testing import assert_frame_equal

from infra.local.demo.comparison import Row
from infra.local.settings import BUCKETS
from infra.local.supervisor import LocalCloud
from shared.client import Client  # the user's side of the API, not the functions'

KINDS = ["google_sheets", "looker"]
MAPPING = {
    "sql": "select * from source where hours is null or hours <> 'skip'",
    "columns": [
        {"name": "id"},
        {"name": "name", "expression": "concat(name, '')"},
        {"name": "hours", "type": "double"},
        {"name": "note"},
    ],
}
FRAME = pd.DataFrame(
    {
        "id": pd.Series([1, 2, 3, 4], dtype="int16"),
        "name": pd.Series(["Ada", "=1+1", "Zoë", "Eve"], dtype="category"),
        "hours": ["1.5", None, "much", "skip"],
        "note": pd.Series([None, 'quoted "text", comma', "x", "y"], dtype=pd.ArrowDtype(pa.string())),
    }
)


@pytest.fixture
def client(cloud: LocalCloud) -> Client:
    return Client(cloud.endpoints["gateway"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_is_mapped_checked_delivered_and_its_rejects_replayed(
    client: Client, connectors: dict[str, str], held: Callable[[str, str], list[Row]], kind: str
) -> None:
    table = f"mapped_{kind}"
    contract = {"on_breach": "discard_row", "key": ["id"]}
    job = client.export(connectors[kind], table, FRAME, mapping=MAPPING, contract=contract)
    assert (job["record_count"], job["rejected_count"]) == (2, 1)
    assert held(kind, table) == [(1, "Ada", 1.5, None), (2, "=1+1", None, 'quoted "text", comma')]
    rejects = list(client.rejects(job["id"]))
    assert [(one["row"], one["column"], one["rule"], one["value"]) for one in rejects] == [(3, "hours", "type", "much")]

    mended = {
        "mapping": {**MAPPING, "columns": [*MAPPING["columns"][:2], {"name": "hours", "value": 0.0}, {"name": "note"}]}
    }
    replay = client.replay_rejects(job["id"], mended)
    assert (replay["mode"], replay["record_count"]) == ("append", 1)
    assert held(kind, table)[2] == (3, "Zoë", 0, "x")


def test_a_large_frame_goes_through_a_bucket_and_comes_back_with_its_dtypes(
    cloud: LocalCloud, connectors: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", cloud.endpoints["gcs"])
    bucket = f"gs://{BUCKETS['TABLES_BUCKET']}/uploads/"
    client = Client(cloud.endpoints["gateway"], upload_to=bucket, max_rows_bytes=100)
    rows = 5_000
    frame = pd.DataFrame(
        {
            "id": pd.Series(range(rows), dtype="uint16"),
            "team": pd.Series(
                ["a", None, "b", "c"] * (rows // 4), dtype=pd.CategoricalDtype(["c", "b", "a"], ordered=True)
            ),
            "pay": pd.Series([Decimal("1.10"), None] * (rows // 2), dtype=pd.ArrowDtype(pa.decimal128(12, 2))),
            "at": pd.date_range("2024-10-27", periods=rows, freq="min", tz="Europe/Berlin"),
            "left": pd.Series([7, None] * (rows // 2), dtype="Int32"),
        }
    )
    job = client.export(connectors["looker"], "frames", frame)
    assert (job["status"], job["record_count"]) == ("success", rows)
    back = client.exported(job["id"])
    assert list(back.dtypes) == list(frame.dtypes)
    assert_frame_equal(back, frame)
