"""DataFrames on their way out and back: the types that travel, and the dtypes that they had.

A frame travels as one of the column types of the API, exactly: whole numbers as int64, floats as double, text, bool, dates,
times to the microsecond, decimals. What dtypes are more than that (bits, zones, categories, nullable, Arrow-backed) is
described in a few bytes beside it, and put back by `restore`. Missing values of every dtype travel as null.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

KEY = "pandas"
"""The annotation of a job that holds the description."""
NAT = type(pd.NaT)
MAX_DESCRIPTION = 20_000
"""Characters; beyond, categories are left out where they have no order: they come back as far as they have rows."""


_INSTEAD = "make it another type first (of a zone, one by its name: dt.tz_convert('Europe/Berlin'))"


class FrameError(ValueError):
    """A column that cannot travel unchanged; the message names it and says what to do."""


def table_of(frame: pd.DataFrame) -> tuple[pa.Table, str]:
    """The frame as it travels, and the description of its dtypes.

    Raises:
        FrameError: a column holds what no column type has, or what would be rounded.
    """
    default = isinstance(frame.index, pd.RangeIndex) and frame.index.start == 0 and frame.index.step == 1
    if not default:
        raise FrameError(
            "the frame has an index of its own, which is no column; call reset_index(), with drop=True to lose it"
        )
    for name in map(_any, frame.columns):
        if not isinstance(name, str):
            raise FrameError(f"the column {name!r} is not named by text; rename it")
    if len(set(frame.columns)) != len(frame.columns):
        raise FrameError("two columns have the same name; rename one")
    columns, dtypes = [], []
    for position, name in enumerate(frame.columns):
        array, dtype = _column(frame.iloc[:, position], name)
        columns.append(array)
        dtypes.append({"name": name, **dtype})
        _require_return(array, dtype, frame.iloc[:, position], name)
    return pa.Table.from_arrays(columns, names=list(frame.columns)), _described(dtypes)


def _described(dtypes: list[dict[str, Any]]) -> str:
    """The description, short enough. Raises `FrameError` where that would take an order away."""
    described = json.dumps(dtypes, ensure_ascii=False)
    if len(described) <= MAX_DESCRIPTION:
        return described
    for dtype in dtypes:
        if not dtype.get("ordered"):
            dtype.pop("categories", None)
    described = json.dumps(dtypes, ensure_ascii=False)
    if len(described) > MAX_DESCRIPTION:
        ordered = [dtype["name"] for dtype in dtypes if dtype.get("ordered")]
        raise FrameError(
            f"the dtypes take {len(described):,} characters, at most {MAX_DESCRIPTION:,} travel"
            + (f"; the order of the categories of {ordered[:20]!r} would be lost: make them text" if ordered else "")
        )
    return described


def _require_return(array: pa.Array, described: dict[str, Any], series: pd.Series[Any], name: str) -> None:
    """Raise `FrameError` unless the dtype can be put back: nobody should learn that only when the frame is gone."""
    try:
        back = _series(array.slice(0, 1), described).dtype
    except Exception as exc:  # whatever pandas and Arrow raise: a zone that has no name, a type that they cannot read
        raise FrameError(f"column {name!r} ({series.dtype}) could not come back as it is: {exc}; {_INSTEAD}") from exc
    if isinstance(series.dtype, pd.DatetimeTZDtype) and str(back) != str(series.dtype):
        raise FrameError(f"column {name!r} ({series.dtype}) would come back as {back}; {_INSTEAD}")


def _any(value: Any) -> Any:
    return value  # pandas-stubs say that columns are named by text; they need not be


def type_names(table: pa.Table) -> dict[str, str]:
    """The column types of a travelling table, as a request declares them."""
    return {field.name: _type_name(field.type) for field in table.schema}


def restore(table: pa.Table, description: str | None) -> pd.DataFrame:
    """The frame of a table that came back; columns that are not described get the dtype that their type has."""
    known = {dtype["name"]: dtype for dtype in json.loads(description or "[]")}
    columns = {
        name: _series(table.column(name).combine_chunks(), known.get(name, {"dtype": None}))
        for name in table.column_names
    }
    return pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows))


def _column(series: pd.Series[Any], name: str) -> tuple[pa.Array, dict[str, Any]]:
    dtype = series.dtype
    described: dict[str, Any] = {"dtype": str(dtype)}
    if isinstance(dtype, pd.CategoricalDtype):
        categories, inner = _column(pd.Series(dtype.categories), name)
        codes = pa.array(series.cat.codes.to_numpy(), pa.int64())
        codes = pc.if_else(pc.less(codes, 0), pa.scalar(None, pa.int64()), codes)
        described = {"dtype": "category", "ordered": dtype.ordered, "categories": _texts(categories), "inner": inner}
        return categories.take(codes), described
    array = _arrow(series, name)
    if isinstance(dtype, pd.ArrowDtype):
        described = {"arrow": _written(dtype.pyarrow_dtype)}
    return _travelling(array, name), described


def _require_one_kind(series: pd.Series[Any], name: str) -> None:
    """Raise `FrameError` where Arrow would change objects without a word: cut a time off, shift a zone, drop digits or a NaN."""
    values = [value for value in series if isinstance(value, dt.date | Decimal) and not isinstance(value, NAT)]
    kinds = {_kind(value) for value in values}
    if len(kinds) > 1:
        raise FrameError(f"column {name!r} holds {' and '.join(sorted(kinds))}; make them one of these")
    for value in values:
        if isinstance(value, Decimal) and not value.is_finite():
            raise FrameError(f"column {name!r} holds the decimal {value}, which no target takes; make it None")
        if isinstance(value, pd.Timestamp) and value.nanosecond:
            raise FrameError(
                f"column {name!r} holds {value}, which would be rounded to microseconds; round it yourself"
            )


def _kind(value: dt.date | Decimal) -> str:
    if isinstance(value, Decimal):
        return "decimals"
    if not isinstance(value, dt.datetime):
        return "dates"
    return "times without a zone" if value.utcoffset() is None else "times with a zone"


def _arrow(series: pd.Series[Any], name: str) -> pa.Array:
    is_numpy = not isinstance(series.dtype, pd.api.extensions.ExtensionDtype)
    if series.dtype == object:
        _require_one_kind(series, name)
    try:
        found = pa.array(series, from_pandas=is_numpy or None)
    except (pa.ArrowException, OverflowError, UnicodeError) as exc:
        raise FrameError(
            f"column {name!r} ({series.dtype}) holds values of several types, or of none that travels: {exc}"
        ) from exc
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def _travelling(array: pa.Array, name: str) -> pa.Array:
    """The values in a column type of the API."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _travelling(array.dictionary_decode(), name)
    target = _target(kind, array)
    if target is None:
        message = f"column {name!r} is {kind}, which no target takes; make it text, numbers, dates or times"
        raise FrameError(message)
    try:
        return array.cast(target)
    except pa.ArrowInvalid as exc:
        message = f"column {name!r} ({kind}) holds what would be rounded as {target}: {exc}; round it yourself"
        raise FrameError(message) from exc


def _target(kind: pa.DataType, array: pa.Array) -> pa.DataType | None:
    if pa.types.is_uint64(kind):
        most = pc.max(array)
        return pa.decimal128(20, 0) if most.is_valid and most.as_py() >= 2**63 else pa.int64()
    if pa.types.is_integer(kind):
        return pa.int64()
    if pa.types.is_floating(kind):
        return pa.float64()
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", None if kind.tz is None else "UTC")
    if pa.types.is_date(kind):
        return pa.date32()
    if pa.types.is_decimal(kind) and kind.precision <= 38 and 0 <= kind.scale <= kind.precision:
        return pa.decimal128(kind.precision, kind.scale)
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if is_text or pa.types.is_null(kind):
        return pa.string()
    return pa.bool_() if pa.types.is_boolean(kind) else None


def _series(array: pa.Array, dtype: dict[str, Any]) -> pd.Series[Any]:
    """One column with the dtype that it had."""
    if "arrow" in dtype:
        kind = _read(dtype["arrow"])
        return pd.Series(pd.arrays.ArrowExtensionArray(_back(array, kind)))
    if dtype["dtype"] == "category":
        return _categories(array, dtype)
    plain: pd.Series[Any] = array.to_pandas()
    if dtype["dtype"] is None or array.null_count == len(array) == 0:
        return plain if dtype["dtype"] is None else plain.astype(pd.api.types.pandas_dtype(dtype["dtype"]))
    if dtype["dtype"] == "object":
        return pd.Series(array.to_pylist(), dtype=object)
    wanted = pd.api.types.pandas_dtype(dtype["dtype"])
    if isinstance(wanted, pd.api.extensions.ExtensionDtype) and hasattr(wanted, "__from_arrow__"):
        return pd.Series(wanted.__from_arrow__(_for_extension(array, wanted)))
    try:
        found: pd.Series[Any] = plain.astype(wanted)
        return found
    except (ValueError, TypeError):
        return plain  # a null came back, for which the dtype has no place


def _for_extension(array: pa.Array, wanted: Any) -> pa.Array:
    if isinstance(wanted, pd.DatetimeTZDtype):
        return array.cast(pa.timestamp(wanted.unit, str(wanted.tz)))
    if pa.types.is_decimal(array.type):
        return array.cast(pa.uint64())
    return array


def _categories(array: pa.Array, dtype: dict[str, Any]) -> pd.Series[Any]:
    kept = pc.drop_null(pc.unique(array))
    if "categories" in dtype:
        kept = pa.array(dtype["categories"], pa.string()).cast(array.type)
    codes = pc.fill_null(pc.index_in(array, value_set=kept), pa.scalar(-1, pa.int32()))
    categories = pd.Index(_series(kept, dtype["inner"]))
    found = pd.Categorical.from_codes(codes.to_numpy(zero_copy_only=False), categories, ordered=dtype["ordered"])
    return pd.Series(found)


def _back(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_null(kind):
        return pa.nulls(len(array)) if array.null_count == len(array) else array
    if pa.types.is_dictionary(kind):
        return array.cast(kind.value_type).dictionary_encode().cast(kind)
    return array.cast(kind)


def _texts(array: pa.Array) -> list[str]:
    return [str(value) for value in array.cast(pa.string()).to_pylist()]


def _written(kind: pa.DataType) -> str:
    """An Arrow type as text, whatever its parameters."""
    return base64.b64encode(pa.schema([("", kind)]).serialize().to_pybytes()).decode()


def _read(text: str) -> pa.DataType:
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text))).field(0).type


def _type_name(kind: pa.DataType) -> str:
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if pa.types.is_timestamp(kind):
        return "timestamp" if kind.tz is None else "timestamp_tz"
    return {"int64": "int64", "double": "double", "bool": "bool", "string": "string", "date32[day]": "date"}[str(kind)]
