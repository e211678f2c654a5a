"""Files in buckets: one, or all under a prefix or pattern as one table; each frozen by a copy on the server.

Columns of many files are matched by name, in the order of the first file. A file that has other columns than the first is
refused by its name, unless the contract lets columns come and go: then one that a file lacks is null in it. Each file is read
with the declared types of the columns that it has. Other types are those
that reading all files as one would have found; in Parquet, which says its types, the files must agree, or the column be
declared.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from shared.errors import SourceError
from shared.pipeline.formats import Format, ReadOptions, Scan, reader
from shared.pipeline.formats.column_types import (
    DOUBLE,
    EMPTY,
    EXACT_INT,
    INT,
    STRING,
    check_names,
    declared_types,
    listed,
    type_name,
)
from shared.pipeline.freezing import FrozenSource, Part, PinnedObject, of_parts
from shared.ports import ObjectInfo

if TYPE_CHECKING:
    import pyarrow as pa

    from shared.pipeline.freezing import Freezing

READ_ROWS = 65_536  # our choice: rows in memory while values are looked at again


def freeze_one(freezing: Freezing) -> FrozenSource:
    """Copy the pinned generation and scan the copy."""
    source, objects = freezing.source, freezing.stores.objects
    name = f"{freezing.folder}source.{source['format']}"
    info = ObjectInfo(source["bucket"], source["name"], source["generation"], source["size_bytes"])
    if (info.bucket, info.name) != (freezing.bucket, name):
        info = objects.copy(info, freezing.bucket, name)
    fmt = Format(source["format"])
    scan = reader(fmt).scan(PinnedObject(objects, info), ReadOptions(**source["options"]))
    return FrozenSource.single(objects, info, fmt, scan, source.get("created_at"))


def freeze_many(freezing: Freezing) -> FrozenSource:
    """Copy every pinned generation, scan the copies, and bring them to the same columns and types."""
    source, objects = freezing.source, freezing.stores.objects
    with objects.open(ObjectInfo(**source["pinned"])) as handle:
        pinned = [ObjectInfo(**item) for item in json.loads(handle.read())]
    fmt, options = Format(source["format"]), ReadOptions(**source["options"])
    drifts = _may_drift(freezing.job)
    found: list[Part] = []
    for number, info in enumerate(pinned):
        freezing.go_on_until_the_end("copying files")
        copy = objects.copy(info, freezing.bucket, f"{freezing.folder}source-{number:05d}.{source['format']}")
        with _named(info.uri):
            part = _scanned(freezing, fmt, copy, replace(options, is_one_of_many=True))
            if found and not drifts:
                _refuse_drift(found[0].scan.schema, pinned[0].uri, part.scan.schema)
        found.append(part)
    whole = _schema(freezing, fmt, options, found, [info.uri for info in pinned])
    parts = [_retyped(freezing, fmt, part, whole, info.uri) for part, info in zip(found, pinned, strict=True)]
    scan = Scan(whole, sum(part.scan.rows for part in parts), replace(options, schema=None))
    if scan.rows > options.max_rows:
        message = (
            f"the {len(parts)} files have {scan.rows:,} rows, at most {options.max_rows:,} are read; name fewer files"
        )
        raise SourceError(message, code="source_too_large")
    return of_parts(freezing, fmt, scan, parts, source.get("created_at"))


def _may_drift(job: Mapping[str, object]) -> bool:
    contract = job.get("contract")
    if not isinstance(contract, Mapping):
        return False
    return all(contract.get(rule, "evolve") == "evolve" for rule in ("new_columns", "gone_columns"))


def _refuse_drift(first: pa.Schema, first_uri: str, schema: pa.Schema) -> None:
    gone = [name for name in first.names if name not in schema.names]
    new = [name for name in schema.names if name not in first.names]
    if gone or new:
        differs = " and ".join(
            f"{word} {listed(names)}" for word, names in (("lacks", gone), ("also has", new)) if names
        )
        raise SourceError(
            f"it {differs}, compared with the columns of {first_uri}; give all files the same columns, or let a contract "
            "evolve them",
            code="files_drift",
            column=(gone or new)[0],
        )


def _schema(
    freezing: Freezing, fmt: Format, options: ReadOptions, parts: Sequence[Part], uris: Sequence[str]
) -> pa.Schema:
    """Return the columns of all parts: in order of first appearance, each of its declared type, else of one that holds all."""
    import pyarrow as pa

    names = list(dict.fromkeys(name for part in parts for name in part.scan.schema.names))
    check_names(names, options)
    declared = declared_types(options, names)
    return pa.schema([(name, declared.get(name) or _joined(freezing, fmt, name, parts, uris)) for name in names])


def _joined(freezing: Freezing, fmt: Format, name: str, parts: Sequence[Part], uris: Sequence[str]) -> pa.DataType:
    """Return the type that holds a column's values of every part unchanged."""
    having = [(part, uri) for part, uri in zip(parts, uris, strict=True) if name in part.scan.schema.names]
    kinds = [part.scan.schema.field(name).type for part, _ in having]
    if all(kind.equals(kinds[0]) for kind in kinds):
        return kinds[0]
    if fmt is Format.PARQUET:
        at = next(index for index, kind in enumerate(kinds) if not kind.equals(kinds[0]))
        raise SourceError(
            f"{having[at][1]}: column {name!r} is {type_name(kinds[at])}, and {type_name(kinds[0])} in {having[0][1]}; write "
            "the files with the same types, or declare the column's type",
            code="files_drift",
            column=name,
        )
    filled = [
        (part, kind)
        for (part, _), kind in zip(having, kinds, strict=True)
        if not (kind.equals(STRING) and _is_empty(freezing, fmt, part, name))
    ]
    different = {type_name(kind) for _, kind in filled}
    if len(different) == 1:
        return filled[0][1]
    if different == {"int64", "double"}:
        ints = [part for part, kind in filled if kind.equals(INT)]
        return DOUBLE if all(_is_exact(freezing, fmt, part, name) for part in ints) else STRING
    return STRING


def _values(freezing: Freezing, fmt: Format, part: Part, name: str) -> Iterator[pa.Array]:
    for batch in reader(fmt).batches(PinnedObject(freezing.stores.objects, part.info), part.scan, 0, READ_ROWS):
        yield batch.column(name)


def _is_empty(freezing: Freezing, fmt: Format, part: Part, name: str) -> bool:
    import pyarrow.compute as pc

    return not any(pc.any(pc.not_equal(values, EMPTY)).as_py() for values in _values(freezing, fmt, part, name))


def _is_exact(freezing: Freezing, fmt: Format, part: Part, name: str) -> bool:
    """Whether all whole numbers of the column are the same number as a double."""
    import pyarrow.compute as pc

    for values in _values(freezing, fmt, part, name):
        bounds = pc.min_max(values)
        if any(abs(bounds[end].as_py() or 0) > EXACT_INT for end in ("min", "max")):
            return False
    return True


def _retyped(freezing: Freezing, fmt: Format, part: Part, whole: pa.Schema, uri: str) -> Part:
    """Return the part with its columns in the types of the whole; it is scanned again only where they differ."""
    own = part.scan.schema
    if all(field.type.equals(whole.field(field.name).type) for field in own):
        return part
    options = replace(part.scan.options, schema={name: type_name(whole.field(name).type) for name in own.names})
    with _named(uri):
        return _scanned(freezing, fmt, part.info, options)


def _scanned(freezing: Freezing, fmt: Format, info: ObjectInfo, options: ReadOptions) -> Part:
    """Return one of many files, scanned. No rows are kept: those of all files together have no bound."""
    scan = reader(fmt).scan(PinnedObject(freezing.stores.objects, info), options)
    return Part(info, replace(scan, kept=None))


@contextmanager
def _named(uri: str) -> Iterator[None]:
    """Put the file's name before what is wrong with it."""
    try:
        yield
    except SourceError as error:
        raise SourceError(f"{uri}: {error.message}", code=error.code, row=error.row, column=error.column) from error
