"""What a job does to its rows before they are delivered: the mapping, and the contract that the mapped rows must keep."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from shared.models._base import END, Count

Scalar = str | int | float | bool
"""A JSON value that stands for one cell; text can stand for every type, e.g. `"2026-01-05"` for a date."""

ColumnName = Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
DeclaredName = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=300,
        pattern=rf"^(?!__[\s\S]*__{END})",
        description="A column's name. Not one in double underscores: no document of Firestore takes it as a key.",
    ),
]
"""A column's name where it is a key of a stored document: firebase.google.com/docs/firestore/quotas"""
MAX_COLUMNS = 1_000  # our choice: no target takes more
MAX_EXPRESSION_CHARS = 2_000  # our choice; longer ones are SQL
MAX_SQL_CHARS = 50_000  # our choice
MAX_ALLOWED = 10_000  # our choice: a list of values in a request, not a table

Expression = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_EXPRESSION_CHARS)]


class MappedColumn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One column that is delivered. At most one of `from`, `value` and `expression`; with none, the source column of its name.

    Attributes:
        name: its name at the target.
        source: `from` in JSON: the source column, by name.
        value: a constant.
        expression: computed from source columns, see the README for the grammar.
        type: cast to this type, exactly: `int64 double bool string date timestamp timestamp_tz decimal(p,s)`. A value that is
            not of the type, or would lose something, breaks the contract's rule `type`.
        default: stands where the value is null.
    """

    name: ColumnName
    source: ColumnName | None = msgspec.field(default=None, name="from")
    value: Scalar | None = None
    expression: Expression | None = None
    type: str | None = None
    default: Scalar | None = None


class Others(StrEnum):
    """What becomes of the source columns that a mapping does not name."""

    DROP = "drop"
    KEEP = "keep"


class Mapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From source columns to delivered ones, by name. Order: `sql`, then `where`, then `columns`.

    Attributes:
        sql: one SELECT over the table `source`; its rows take the place of the source's. For files it runs in DuckDB, shut
            off from network and disk.
        where: an expression; rows for which it is not true are left out, and are no rejects.
        columns: what is delivered, in this order; empty: all columns as they are.
        others: `keep` appends the source columns that no entry reads or names, in source order.
    """

    sql: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_SQL_CHARS)] | None = None
    where: Expression | None = None
    columns: Annotated[list[MappedColumn], msgspec.Meta(max_length=MAX_COLUMNS)] = []
    others: Others = Others.DROP


class Drift(StrEnum):
    """What a column that differs from the last success of the same target does."""

    EVOLVE = "evolve"
    FREEZE = "freeze"
    DISCARD_ROW = "discard_row"
    DISCARD_VALUE = "discard_value"


class Breach(StrEnum):
    """What a value that breaks a rule does: fail the job, or be left out, alone or with its row."""

    FREEZE = "freeze"
    DISCARD_ROW = "discard_row"
    DISCARD_VALUE = "discard_value"


class ColumnContract(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rules of one delivered column.

    Attributes:
        type: its type, as in a mapping; values are cast to it exactly.
        required: null breaks the rule. The column itself must be there.
        unique: a value that an earlier row has breaks the rule; null is never the same as null.
        allowed: the values that it may have; null is not asked.
        minimum, maximum: the range, ends included; for numbers, dates and times (as text). NaN is in no range.
        on_breach: instead of the contract's.
        on_drift: instead of `new_columns`, `gone_columns` or `changed_types` for this column.
    """

    type: str | None = None
    required: bool = False
    unique: bool = False
    allowed: Annotated[list[Scalar], msgspec.Meta(min_length=1, max_length=MAX_ALLOWED)] | None = None
    minimum: Scalar | None = None
    maximum: Scalar | None = None
    on_breach: Breach | None = None
    on_drift: Drift | None = None


class Contract(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the delivered rows must keep, and what happens where they do not. It applies to the columns after the mapping.

    Attributes:
        new_columns: a column that the last success on this target did not have. `evolve` delivers it, `freeze` fails the job,
            `discard_value` leaves the column out, `discard_row` the rows that have a value in it, and the column.
        gone_columns: a column that it had and this job has not: `evolve` or `freeze`.
        changed_types: `evolve` takes the new type; `freeze` fails; the others cast to the old one and discard what does not fit.
        on_breach: of the rules of the columns and of the key, and of values that a mapping cannot cast or compute.
        key: these columns together are unique and none of them null.
        columns: rules by delivered column.
    """

    new_columns: Drift = Drift.EVOLVE
    gone_columns: Drift = Drift.EVOLVE
    changed_types: Drift = Drift.EVOLVE
    on_breach: Breach = Breach.FREEZE
    key: Annotated[list[ColumnName], msgspec.Meta(max_length=MAX_COLUMNS)] = []
    columns: dict[str, ColumnContract] = {}


class Reject(msgspec.Struct, frozen=True, kw_only=True):
    """One broken rule. `row` is one-based and counts the rows of the source (of the SQL's result, where there is one).

    `discarded` is `row` or `value`; `record` is the row as it came, before the mapping. A row that breaks several rules has
    as many entries.
    """

    row: int
    column: str
    rule: str
    value: str | None
    discarded: str
    record: dict[str, str | int | float | bool | None]


class RejectPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a job's rejects, in the order of its rows."""

    rejects: list[Reject]
    next_page_token: str | None = None


class ReplayRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How rejected rows are sent again. What is not given is the registered table's present one, else the job's."""

    mapping: Mapping | None = None
    contract: Contract | None = None
    max_rejects: Count | None = None
