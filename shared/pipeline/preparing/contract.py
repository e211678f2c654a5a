"""A contract over mapped rows, batch by batch: which rules they break, and what is left of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from shared.errors import MappingError
from shared.models import Breach, ColumnContract, Contract, Drift
from shared.pipeline.formats.column_types import BOOL, STRING, listed, parse_type, shown, type_name
from shared.pipeline.preparing import casting
from shared.pipeline.preparing.casting import CastRefusedError
from shared.pipeline.preparing.drift import ContractBrokenError, Policy
from shared.pipeline.preparing.mapping import WHERE, Flaw, Mapped

WHOLE_ROW = frozenset({"required", "unique", "key", "new_column"})
"""Rules that a row breaks as long as it is there: discarding the value alone does not mend them."""


@dataclass(frozen=True)
class Broken:
    """One rule that one row breaks. `value` is as text, None for null and for what could not be computed."""

    row: int
    index: int
    column: str
    rule: str
    value: str | None
    discards_row: bool


@dataclass(frozen=True)
class Kept:
    """What a contract leaves of a batch, the row numbers of it, and what was broken, by row and then by column."""

    batch: pa.RecordBatch
    rows: pa.Array
    broken: list[Broken]


@dataclass(frozen=True)
class _Check:
    rule: str
    breaks: Callable[[pa.Array], pa.BooleanArray]


class Checker:
    """A contract with the types of mapped rows. `schema` is what is delivered.

    Raises:
        MappingError: the contract names a column that is not delivered, or a value that is not of its column's type.
    """

    def __init__(self, contract: Contract, mapped: pa.Schema, policy: Policy) -> None:
        self._contract = contract
        self._policy = policy
        _require_columns(contract, mapped, policy)
        self._kinds = {field.name: self._kind(field) for field in mapped}
        fields = [(name, kind) for name, kind in self._kinds.items() if name not in policy.left_out]
        self.schema = pa.schema(fields)
        self._checks = {name: self._rules(name) for name, _ in fields}
        self.unique: list[tuple[str, list[str]]] = [("key", list(contract.key))] if contract.key else []
        self.unique += [("unique", [name]) for name, rules in contract.columns.items() if rules.unique]

    def apply(self, mapped: Mapped, doubled: list[tuple[str, str, pa.Array]]) -> Kept:
        """Return what is left. `doubled` is (rule, column, row numbers) of rows whose key an earlier row has.

        Raises:
            ContractBrokenError: a frozen rule is broken; the first row that does.
        """
        flaws = list(mapped.flaws)
        columns = []
        for name, values in zip(mapped.batch.schema.names, mapped.batch.columns, strict=True):
            left, found = self._column(name, values)
            columns.append(left)
            flaws += found
        for rule, column, rows in doubled:
            again = pc.is_in(mapped.rows, value_set=rows)
            flaws.append(Flaw(column, rule, again, self._of(column, mapped, columns)))
        flaws = [flaw for flaw in flaws if pc.any(flaw.rows).as_py()]
        batch = pa.RecordBatch.from_arrays(
            [values for name, values in zip(mapped.batch.schema.names, columns, strict=True) if name in self._checks],
            schema=self.schema,
        )
        if not flaws:
            return Kept(batch, mapped.rows, [])
        broken = self._broken(flaws, mapped)
        gone = casting.either(*(flaw.rows for flaw in flaws if self._discards_row(flaw)))
        if gone is None:
            return Kept(batch, mapped.rows, broken)
        stays = pc.invert(gone)
        return Kept(batch.filter(stays), mapped.rows.filter(stays), broken)

    def on_breach(self, column: str, rule: str) -> Breach:
        """What happens where a rule of a column is broken."""
        if rule == "new_column":
            return Breach.DISCARD_ROW
        if rule == "changed_type" and self._policy.cast_back:
            drift = self._policy.cast_back[column][1]
            return Breach.DISCARD_ROW if drift is Drift.DISCARD_ROW else Breach.DISCARD_VALUE
        rules = self._contract.columns.get(column)
        return self._contract.on_breach if rules is None or rules.on_breach is None else rules.on_breach

    def _of(self, column: str, mapped: Mapped, columns: list[pa.Array]) -> pa.Array | None:
        index = mapped.batch.schema.get_field_index(column)
        return columns[index] if index >= 0 else None

    def _kind(self, field: pa.Field) -> pa.DataType:
        rules = self._contract.columns.get(field.name)
        kind = field.type if rules is None or rules.type is None else parse_type(rules.type, column=field.name)
        if self._policy.cast_back and field.name in self._policy.cast_back:
            kind = self._policy.cast_back[field.name][0]
        try:
            casting.cast(casting.nulls(field.type, 1), kind)
        except CastRefusedError as exc:
            where = f"contract.columns.{field.name}"
            message = (
                f"{where}: {type_name(field.type)} cannot become {type_name(kind)} exactly; cast it in the mapping"
            )
            raise MappingError(message, field=where, column=field.name) from exc
        return kind

    def _rules(self, name: str) -> list[_Check]:
        rules = self._contract.columns.get(name, ColumnContract())
        kind = self._kinds[name]
        checks = []
        if rules.allowed is not None:
            options = [_bound(value, kind, name, "allowed") for value in rules.allowed]
            allowed = pa.concat_arrays([pa.repeat(option, 1) for option in options])
            checks.append(_Check("allowed", lambda values: _valid_and_not(values, pc.is_in(values, value_set=allowed))))
        if rules.minimum is not None:
            least = _bound(rules.minimum, kind, name, "minimum")
            checks.append(_Check("minimum", lambda values: _valid_and_not(values, pc.greater_equal(values, least))))
        if rules.maximum is not None:
            most = _bound(rules.maximum, kind, name, "maximum")
            checks.append(_Check("maximum", lambda values: _valid_and_not(values, pc.less_equal(values, most))))
        return checks

    def _column(self, name: str, values: pa.Array) -> tuple[pa.Array, list[Flaw]]:
        """The values that are left of a column, and the rules that it breaks."""
        if name in self._policy.left_out:
            has_value = [Flaw(name, "new_column", pc.is_valid(values), values)]
            return values, has_value if name in self._policy.rows_out else []
        flaws = []
        cast = casting.cast(values, self._kinds[name])
        if cast.bad is not None:
            is_drift = bool(self._policy.cast_back) and name in (self._policy.cast_back or {})
            flaws.append(Flaw(name, "changed_type" if is_drift else "type", cast.bad, values))
        left = cast.values
        for check in self._checks[name]:
            rows = check.breaks(left)
            flaws.append(Flaw(name, check.rule, rows, left))
        for flaw in flaws[1 if cast.bad is not None else 0 :]:
            if self.on_breach(name, flaw.rule) is Breach.DISCARD_VALUE and pc.any(flaw.rows).as_py():
                left = pc.if_else(flaw.rows, casting.nulls(left.type, 1)[0], left)
        rules = self._contract.columns.get(name)
        if rules is not None and rules.required:
            flaws.append(Flaw(name, "required", pc.is_null(left), None))
        if name in self._contract.key:
            flaws.append(Flaw(name, "key", pc.is_null(left), None))
        return left, flaws

    def _discards_row(self, flaw: Flaw) -> bool:
        on_breach = self.on_breach(flaw.column, flaw.rule)
        return on_breach is Breach.DISCARD_ROW or flaw.rule in WHOLE_ROW or flaw.column == WHERE

    def _broken(self, flaws: list[Flaw], mapped: Mapped) -> list[Broken]:
        """One entry for each row and rule; by row, then in the order of the columns."""
        found: list[Broken] = []
        for flaw in flaws:
            indexes = pc.indices_nonzero(flaw.rows)
            values = (
                [None] * len(indexes) if flaw.values is None else casting.as_text(flaw.values.take(indexes)).to_pylist()
            )
            rows = mapped.rows.take(indexes).to_pylist()
            discards_row = self._discards_row(flaw)
            found += [
                Broken(row, index, flaw.column, flaw.rule, value, discards_row)
                for row, index, value in zip(rows, indexes.to_pylist(), values, strict=True)
            ]
            if self.on_breach(flaw.column, flaw.rule) is Breach.FREEZE and rows:
                self._freeze_at(flaws, mapped)
        return sorted(found, key=lambda one: one.row)

    def _freeze_at(self, flaws: list[Flaw], mapped: Mapped) -> None:
        """Fail at the first row that breaks a frozen rule."""
        frozen = [flaw for flaw in flaws if self.on_breach(flaw.column, flaw.rule) is Breach.FREEZE]
        at = [pc.index(flaw.rows, casting.constant("true", BOOL)).as_py() for flaw in frozen]
        index, flaw = min(zip(at, frozen, strict=True), key=lambda one: one[0])
        row = mapped.rows[index].as_py()
        value = None if flaw.values is None else casting.as_text(flaw.values.slice(index, 1))[0].as_py()
        message = f"row {row}, column {flaw.column!r}: {_said(flaw.rule, value)}; {_ADVICE}"
        raise ContractBrokenError(message, code="contract_broken", row=row, column=flaw.column)


_ADVICE = "correct it, or let on_breach discard the row or the value"


def _said(rule: str, value: str | None) -> str:
    held = "null" if value is None else shown(value)
    return {
        "expression": "it cannot be computed exactly (overflow, division by zero, or a value that would lose something)",
        "type": f"{held} is not a value of the column's type",
        "required": "it is null, and it is required",
        "key": f"the key is {'null' if value is None else 'there before'}",
        "unique": f"{held} is there before, and it is to be unique",
    }.get(rule, f"{held} breaks the rule {rule!r}")


def _require_columns(contract: Contract, mapped: pa.Schema, policy: Policy) -> None:
    delivered = [name for name in mapped.names if name not in policy.left_out]
    wanted = [(f"contract.columns.{name}", name) for name, rules in contract.columns.items() if _asks(rules)]
    wanted += [("contract.key", name) for name in contract.key]
    for where, name in wanted:
        if name not in delivered:
            message = f"{where}: the delivered rows have no column {name!r}; they have {listed(delivered)}"
            raise MappingError(message, field=where, column=name)


def _asks(rules: ColumnContract) -> bool:
    """Whether the rules need their column to be there; a type, a range or a list say nothing of a column that is gone."""
    return rules.required or rules.unique


def _valid_and_not(values: pa.Array, holds: pa.BooleanArray) -> pa.BooleanArray:
    return pc.and_not(pc.is_valid(values), pc.fill_null(holds, casting.constant("false", BOOL)))


def _bound(value: str | float | bool, kind: pa.DataType, name: str, rule: str) -> pa.Scalar:  # noqa: FBT001 - a JSON value
    where = f"contract.columns.{name}"
    try:
        if kind.equals(BOOL) and rule != "allowed":
            raise CastRefusedError("bool has no order")
        if kind.equals(STRING) and rule != "allowed" and not isinstance(value, str):
            raise CastRefusedError("texts are ordered letter by letter: '10' comes before '9'")
        return casting.constant_of(value, kind)
    except (CastRefusedError, pa.ArrowInvalid) as exc:
        message = f"{where}: {rule} {value!r} is no {type_name(kind)} to compare with"
        raise MappingError(message, field=where, column=name) from exc
