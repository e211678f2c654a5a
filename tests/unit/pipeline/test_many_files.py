"""Many files as one source: what is held of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

from shared.pipeline.freezing import Freezing, plain
from shared.pipeline.sources.files import freeze_many
from shared.ports import Stores
from tests.fakes.stores import InMemoryObjects


def test_no_rows_of_many_files_are_held_between_their_scan_and_their_reading() -> None:
    objects, now = InMemoryObjects(), datetime(2026, 1, 5, tzinfo=UTC)
    infos = [objects.put("in", f"part-{number}.jsonl", b'{"a": 1}\n') for number in range(2)]
    pinned = objects.put("frozen", "pinned.json", json.dumps([plain(info) for info in infos]).encode())
    source = {"pinned": plain(pinned), "format": "jsonl", "options": {}}
    clock = SimpleNamespace(now=lambda: now)
    stores = cast("Stores", SimpleNamespace(objects=objects, clock=clock))
    job: dict[str, Any] = {"id": "1", "source": source}
    frozen = freeze_many(Freezing(stores, "frozen", job, lambda fields: None, now.replace(year=2027)))
    assert [part.scan.kept for part in frozen.parts] == [None, None]
    assert [table.to_pylist() for table in frozen.tables(0, 10)] == [[{"a": 1}, {"a": 1}]]
