"""A Firestore collection at one moment, read page by page and frozen as one Parquet file.

Pages are kept as they come, each with a checkpoint, so that a read that outlives a box of work, or its worker, goes on after
the last page at the same moment. When all are there the columns are known, and the pages become the file.

| Firestore | column |
|---|---|
| document id | `__id__`; of a collection group also `__path__` |
| string, boolean, integer | the same |
| double | double; integers and doubles in one field: double if every integer is exact, else text |
| timestamp | timestamp_tz |
| geopoint | two columns, `field.latitude` and `field.longitude` |
| reference | text, the path |
| bytes | text, Base64 |
| map | a column for each of its fields, `field.inner`; an empty map is the text `{}` |
| array, vector | text, JSON |
| null, missing | null |

A field of several types is text. Columns are in alphabetical order after the ids, for the fields of a document have none.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from shared.errors import InternalError, SourceError
from shared.pipeline.formats import Format, ReadOptions, reader, writer
from shared.pipeline.formats.column_types import BOOL, DOUBLE, EXACT_INT, INT, STRING, TIMESTAMP_TZ, check_names
from shared.pipeline.freezing import FrozenSource, PinnedObject
from shared.ports import CollectionName, GeoPoint, ObjectInfo, Reference, SourceDocument

if TYPE_CHECKING:
    import pyarrow as pa

    from shared.pipeline.freezing import Freezing

PAGE_DOCUMENTS = 5_000  # our choice: one query; a few seconds, and one checkpoint
PAGE_BYTES = 16 * 2**20  # our choice: documents may be 1 MiB each
BATCH_ROWS = 10_000
MAX_COLUMNS = ReadOptions().max_columns
ID, PATH = "__id__", "__path__"
"""Firestore reserves names of this form, so no field can be called so."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TEXTS = frozenset({"s", "y", "j"})


@dataclass
class Kinds:
    """What every column held so far: tags of `_leaves`, with `I` for integers that a double cannot hold."""

    by_column: dict[str, set[str]] = field(default_factory=dict)

    def note(self, column: str, tag: str, value: Any) -> None:
        """Add a value. Raises `SourceError` at too many columns."""
        tags = self.by_column.setdefault(column, set())
        tags.add("I" if tag == "i" and abs(value) > EXACT_INT else tag)
        if len(self.by_column) > MAX_COLUMNS:
            raise SourceError(
                f"the documents have more than {MAX_COLUMNS:,} different fields; keep keys that vary in an array, not in a map",
                code="source_too_large",
            )

    def schema(self, ids: list[str]) -> pa.Schema:
        """Return the columns: ids, then fields by name."""
        import pyarrow as pa

        names = sorted(self.by_column)
        check_names([*ids, *names], ReadOptions())
        return pa.schema([(name, STRING) for name in ids] + [(name, _type(self.by_column[name])) for name in names])


def freeze(freezing: Freezing) -> FrozenSource:
    """Read what is left to read, then make the file.

    Raises:
        SourceError: Firestore refuses, or does not keep that moment any more; or two fields have one column's name.
        VendorUnavailableError: code `source_exporting`, the box of work is over; or Firestore does not answer.
    """
    state: dict[str, Any] = dict(freezing.job.get("freezing") or {})
    if not state:
        state = {
            "read_time": freezing.stores.clock.now(),
            "after": None,
            "pages": 0,
            "rows": 0,
            "kinds": "{}",
            "done": False,
        }
        freezing.save({"freezing": state})
    kinds = Kinds({name: set(tags) for name, tags in json.loads(state["kinds"]).items()})
    while not state["done"]:
        freezing.go_on_until_the_end("reading from Firestore")
        state = _next_page(freezing, state, kinds)
        freezing.save({"freezing": state, "idle_claims": 0})
    info = _file(freezing, state, kinds)
    options = ReadOptions(**freezing.source["options"])
    scan = reader(Format.PARQUET).scan(PinnedObject(freezing.stores.objects, info), options)
    return FrozenSource.single(freezing.stores.objects, info, Format.PARQUET, scan, state["read_time"])


def _next_page(freezing: Freezing, state: Mapping[str, Any], kinds: Kinds) -> dict[str, Any]:
    """Keep one more page; returns the state after it."""
    source = freezing.source
    name = CollectionName(source["project"], source["database"], source["collection"], source["group"])
    found = freezing.stores.collections.read(name, state["read_time"], state["after"], PAGE_DOCUMENTS)
    after, rows, size, is_cut = state["after"], 0, 0, False
    page = _page_name(freezing, state["pages"])
    with freezing.stores.objects.writer(freezing.bucket, page, content_type="application/x-ndjson") as sink:
        for document in found:
            line = (
                json.dumps([document.path, _row(document, kinds)], ensure_ascii=False, separators=(",", ":")).encode()
                + b"\n"
            )
            sink.write(line)
            after, rows, size = document.path, rows + 1, size + len(line)
            if size >= PAGE_BYTES:
                is_cut = True
                break
    return {
        **state,
        "after": after,
        "pages": state["pages"] + 1,
        "rows": state["rows"] + rows,
        "kinds": json.dumps({column: sorted(tags) for column, tags in kinds.by_column.items()}),
        "done": rows < PAGE_DOCUMENTS and not is_cut,
    }


def _page_name(freezing: Freezing, number: int) -> str:
    return f"{freezing.folder}page-{number:06d}.jsonl"


def _row(document: SourceDocument, kinds: Kinds) -> dict[str, Any]:
    """Return the document's columns as [tag, JSON value], and note their kinds."""
    row: dict[str, Any] = {}
    for column, tag, value in _leaves("", document.fields):
        if column in row:
            raise SourceError(
                f"document {document.path}: two fields become the column {column!r}, one of them by its name and one as part of a "
                "map; rename one",
                code="columns_invalid",
                column=column,
            )
        row[column] = [tag, value]
        kinds.note(column, tag, value)
    return row


def _leaves(prefix: str, fields: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield (column, tag, JSON value) of every field that has a value, maps opened."""
    for name, value in fields.items():
        column = prefix + name
        match value:
            case None:
                continue
            case GeoPoint():
                yield f"{column}.latitude", "d", value.latitude
                yield f"{column}.longitude", "d", value.longitude
            case Mapping() if value:
                yield from _leaves(f"{column}.", value)
            case Mapping() | list():
                yield column, "j", json.dumps(_json(value), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
            case _:
                yield column, *_scalar(column, value)


def _scalar(column: str, value: Any) -> tuple[str, Any]:
    match value:
        case bool():
            return "b", value
        case int():
            return "i", value
        case float():
            return "d", value
        case str():
            return "s", value
        case datetime():
            return "t", (value - _EPOCH) // timedelta(microseconds=1)
        case bytes():
            return "y", base64.b64encode(value).decode()
        case Reference():
            return "s", value.path
    raise SourceError(f"field {column!r} holds a {type(value).__name__}, which no column takes", column=column)


def _json(value: Any) -> Any:
    """Return a value inside an array, as JSON has it."""
    match value:
        case float() if not math.isfinite(value):
            return _text("d", value)
        case datetime():
            return _text("t", (value - _EPOCH) // timedelta(microseconds=1))
        case bytes():
            return base64.b64encode(value).decode()
        case Reference():
            return value.path
        case GeoPoint():
            return {"latitude": value.latitude, "longitude": value.longitude}
        case Mapping():
            return {name: _json(item) for name, item in value.items()}
        case list():
            return [_json(item) for item in value]
    return value


def _type(tags: set[str]) -> pa.DataType:
    """Return the type that holds every value of these tags unchanged; text where there is none."""
    if tags <= {"i", "I"}:
        return INT
    if tags <= {"i", "d"}:
        return DOUBLE
    return {"b": BOOL, "t": TIMESTAMP_TZ}.get("".join(tags), STRING)


def _text(tag: str, value: Any) -> str:
    """Return a value as text, for a column of several types."""
    match tag:
        case "b":
            return "true" if value else "false"
        case "d":
            special = {math.inf: "Infinity", -math.inf: "-Infinity"}
            return "NaN" if math.isnan(value) else special.get(value, repr(value))
        case "t":
            return (_EPOCH + timedelta(microseconds=value)).isoformat().replace("+00:00", "Z")
    return str(value)


def _file(freezing: Freezing, state: Mapping[str, Any], kinds: Kinds) -> ObjectInfo:
    """Write the pages as one Parquet file, and delete them; a file that is there already was written whole."""
    objects, name = freezing.stores.objects, f"{freezing.folder}source.parquet"
    schema = kinds.schema([ID, PATH] if freezing.source["group"] else [ID])
    pages = [_page_name(freezing, number) for number in range(state["pages"])]
    if objects.stat(freezing.bucket, name) is None:
        rows = (row for page in pages for row in _kept_rows(freezing, page))
        with objects.writer(freezing.bucket, name, content_type="application/vnd.apache.parquet") as sink:
            writer(Format.PARQUET).write(schema, _batches(rows, schema), sink)
    for page in pages:
        objects.delete(freezing.bucket, page)
    info = objects.stat(freezing.bucket, name)
    if info is None:
        raise InternalError(f"gs://{freezing.bucket}/{name} is gone right after it was written; report this")
    return info


def _kept_rows(freezing: Freezing, page: str) -> Iterator[dict[str, Any]]:
    info = freezing.stores.objects.stat(freezing.bucket, page)
    if info is None:
        raise InternalError(f"gs://{freezing.bucket}/{page} is gone; report this")
    with freezing.stores.objects.open(info) as handle:
        for line in handle:
            path, row = json.loads(line)
            yield {ID: ["s", path.rpartition("/")[2]], PATH: ["s", path], **row}


def _batches(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    def batch(held: list[Mapping[str, Any]]) -> pa.RecordBatch:
        columns = [pa.array([_value(row.get(one.name), one.type) for row in held], one.type) for one in schema]
        return pa.RecordBatch.from_arrays(columns, schema=schema)

    held: list[Mapping[str, Any]] = []
    for row in rows:
        held.append(row)
        if len(held) == BATCH_ROWS:
            yield batch(held)
            held = []
    if held:
        yield batch(held)


def _value(pair: list[Any] | None, kind: pa.DataType) -> Any:
    if pair is None:
        return None
    tag, value = pair
    if kind.equals(STRING):
        return value if tag in _TEXTS else _text(tag, value)
    return float(value) if kind.equals(DOUBLE) else value
