"""Expressions over columns: each parsed tree becomes a type and a function from a batch to values, with Arrow's kernels.

A row whose value cannot be computed (overflow, division by zero, an inexact conversion) is bad, and only where its value
counts: the branch of an `if` that is not taken, what `and` or `or` do not need and what `coalesce` does not reach may be bad.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from shared.errors import MappingError
from shared.pipeline.formats.column_types import BOOL, DATE, DOUBLE, INT, STRING, TIMESTAMP, listed, type_name
from shared.pipeline.preparing import casting, grammar
from shared.pipeline.preparing.casting import Computed, attempt, computed, either, nulls

if TYPE_CHECKING:
    pass

NULL = pa.null()
WIDE_DIGITS = 76
MAX_DIGITS = 38

Evaluate = Callable[[pa.RecordBatch], Computed]


@dataclass(frozen=True)
class Term:
    """A typed expression. `literal` is set (in a one-element tuple) where it is a constant, which takes the other side's type."""

    kind: pa.DataType
    evaluate: Evaluate
    literal: tuple[str | int | float | bool | None] | None = None


class Compiler:
    """Gives types to trees of one schema. `field` says where the expression stands, for messages."""

    def __init__(self, schema: pa.Schema, field: str) -> None:
        self._schema = schema
        self._field = field

    def term(self, node: ast.expr) -> Term:
        """The typed expression of a tree that `grammar.parse` returned.

        Raises:
            MappingError: a column is not there, or the types do not fit together.
        """
        if grammar.is_literal(node):
            return self._literal(node)
        match node:
            case ast.Name(id=name):
                return self.column(name)
            case ast.BinOp(left=left, op=op, right=right):
                return self._arithmetic(op, self.term(left), self.term(right), node)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return _not(self.boolean(operand))
            case ast.UnaryOp(operand=operand):
                return self._negative(self.term(operand), node)
            case ast.BoolOp(op=op, values=values):
                return _joined(isinstance(op, ast.And), [self.boolean(value) for value in values])
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return _chosen(self.boolean(test), *self.same_type([self.term(body), self.term(orelse)], node))
            case ast.Compare():
                return self._compare(node)
            case ast.Call():
                return self._call(node)
        raise self.refused(node, "it is not part of an expression here")

    def boolean(self, node: ast.expr) -> Term:
        """The expression of a condition."""
        found = self.term(node)
        if found.kind.equals(NULL):
            return retyped(found, BOOL)
        if not found.kind.equals(BOOL):
            raise self.refused(node, f"it is {named(found.kind)}, where true or false is expected")
        return found

    def same_type(self, terms: Sequence[Term], node: ast.AST) -> list[Term]:
        """The expressions, converted to one type that holds all their values exactly."""
        kinds = [term.kind for term in terms if term.literal is None]
        if not kinds:
            kinds = [term.kind for term in terms if not term.kind.equals(NULL)] or [NULL]
        common = kinds[0]
        for kind in kinds[1:]:
            common = self._common(common, kind, node)
        for term in terms:
            common = _widened_for(common, term)
        return [self.converted(term, common, node) for term in terms]

    def converted(self, term: Term, kind: pa.DataType, node: ast.AST) -> Term:
        """The expression as another type; a literal is read as that type."""
        if term.kind.equals(kind):
            return term
        if term.literal is not None:
            value = term.literal[0]
            if value is None:
                return retyped(term, kind)
            try:
                return _constant(casting.constant_of(value, kind), term.literal)
            except (casting.CastRefusedError, pa.ArrowInvalid) as exc:
                raise self.refused(node, f"{value!r} is no {named(kind)}") from exc

        def evaluate(batch: pa.RecordBatch) -> Computed:
            found = term.evaluate(batch)
            cast = casting.cast(found.values, kind)
            return computed(cast.values, found.bad, cast.bad)

        return Term(kind, evaluate)

    def refused(self, node: ast.AST, why: str) -> MappingError:
        """The error for a part of an expression."""
        return MappingError(f"{self._field}: {ast.unparse(node)[:120]!r} cannot be computed: {why}", field=self._field)

    def _common(self, left: pa.DataType, right: pa.DataType, node: ast.AST) -> pa.DataType:
        if left.equals(right):
            return left
        decimals = [kind for kind in (left, right) if pa.types.is_decimal(kind)]
        if len(decimals) == 2 or (decimals and INT in (left, right)):
            scale = max(kind.scale for kind in decimals)
            whole = max(*(kind.precision - kind.scale for kind in decimals), 0 if len(decimals) == 2 else 19)
            return pa.decimal128(min(whole + scale, MAX_DIGITS), scale)
        for narrow, wide in ((INT, DOUBLE), (DATE, TIMESTAMP)):
            if {str(left), str(right)} == {str(narrow), str(wide)}:
                return wide
        why = f"{named(left)} and {named(right)} do not go together; use cast() on one of them"
        raise self.refused(node, why)

    def column(self, name: str) -> Term:
        """The values of a source column. Raises `MappingError` if there is none of that name."""
        if name not in self._schema.names:
            hint = f"its columns are {listed(self._schema.names)}"
            raise MappingError(
                f"{self._field}: the source has no column {name!r}; {hint}", field=self._field, column=name
            )
        index = self._schema.get_field_index(name)
        return Term(self._schema.field(index).type, lambda batch: Computed(batch.column(index)))

    def _arithmetic(self, op: ast.operator, left: Term, right: Term, node: ast.BinOp) -> Term:
        if isinstance(op, ast.Mult) and any(pa.types.is_decimal(term.kind) for term in (left, right)):
            return self._product(left, right, node)
        left, right = self.same_type([left, right], node)
        kind = left.kind
        if kind.equals(NULL):
            return left
        if not (kind.equals(INT) or kind.equals(DOUBLE) or pa.types.is_decimal(kind)):
            hint = "; join texts with concat()" if kind.equals(STRING) else ""
            raise self.refused(node, f"{named(kind)} is no number{hint}")
        if isinstance(op, ast.Div):
            if pa.types.is_decimal(kind):
                raise self.refused(
                    node, "decimals are not divided, for the result would be rounded; cast them to double"
                )
            left, right = self.converted(left, DOUBLE, node), self.converted(right, DOUBLE, node)
            return applied(DOUBLE, pc.divide_checked, left, right)
        if kind.equals(DOUBLE):
            kernel = {ast.Add: pc.add, ast.Sub: pc.subtract, ast.Mult: pc.multiply}[type(op)]
            return applied(kind, kernel, left, right)
        kernel = {ast.Add: pc.add_checked, ast.Sub: pc.subtract_checked, ast.Mult: pc.multiply_checked}[type(op)]
        if pa.types.is_decimal(kind):
            wide = pa.decimal256(WIDE_DIGITS - 1, kind.scale)
            return _narrowed(
                kernel, pa.decimal128(min(kind.precision + 1, MAX_DIGITS), kind.scale), (left, wide), (right, wide)
            )
        return applied(kind, kernel, left, right)

    def _product(self, left: Term, right: Term, node: ast.AST) -> Term:
        """Of decimals, each with its own places: the result has the places of both."""
        terms = []
        for term in (left, right):
            kind = term.kind
            if term.literal is not None and not kind.equals(NULL):
                whole, _, decimals = casting.json_text(term.literal[0]).lstrip("-").partition(".")
                kind = pa.decimal128(min(len(whole) + len(decimals), MAX_DIGITS), min(len(decimals), MAX_DIGITS))
            elif kind.equals(INT) or kind.equals(NULL):
                kind = pa.decimal128(19, 0)
            elif not pa.types.is_decimal(kind):
                raise self.refused(node, f"decimal and {named(kind)} do not go together; use cast() on one of them")
            terms.append(self.converted(term, kind, node))
        one, other = (term.kind for term in terms)
        scale = one.scale + other.scale
        if scale > MAX_DIGITS:
            raise self.refused(node, f"the product would have {scale} decimal places, at most {MAX_DIGITS} are kept")
        result = pa.decimal128(min(one.precision + other.precision, MAX_DIGITS), scale)
        wide = [pa.decimal256(MAX_DIGITS, one.scale), pa.decimal256(MAX_DIGITS - 1, max(other.scale, 0))]
        return _narrowed(pc.multiply_checked, result, (terms[0], wide[0]), (terms[1], wide[1]))

    def _negative(self, term: Term, node: ast.AST) -> Term:
        if term.kind.equals(INT) or term.kind.equals(DOUBLE) or pa.types.is_decimal(term.kind):
            return applied(term.kind, pc.negate_checked, term)
        raise self.refused(node, f"{named(term.kind)} is no number")

    def _compare(self, node: ast.Compare) -> Term:
        left, found = node.left, []
        for op, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, ast.Is | ast.IsNot):
                found.append(_is_null(self.term(left), negated=isinstance(op, ast.IsNot)))
            elif isinstance(op, ast.In | ast.NotIn):
                assert isinstance(right, ast.List | ast.Tuple)
                found.append(self._is_in(left, right.elts, node, negated=isinstance(op, ast.NotIn)))
            else:
                found.append(self._ordered(op, self.term(left), self.term(right), node))
                left = right
        return found[0] if len(found) == 1 else _joined(True, found)

    def _literal(self, node: ast.expr) -> Term:
        try:
            return literal_term(grammar.literal(node))
        except casting.CastRefusedError as exc:
            raise self.refused(node, f"the number has more than {MAX_DIGITS} digits") from exc

    def in_one_order(self, terms: Sequence[Term], node: ast.AST) -> list[Term]:
        """As `same_type`, for what is compared by size: a number written beside texts would be taken letter by letter."""
        found = self.same_type(terms, node)
        numbers = [term.literal[0] for term in terms if term.literal and type(term.literal[0]) in (int, float)]
        if numbers and found[0].kind.equals(STRING):
            why = f"texts are ordered letter by letter: '10' comes before '9'; use cast() on the text, or write '{numbers[0]}'"
            raise self.refused(node, why)
        return found

    def _ordered(self, op: ast.cmpop, left: Term, right: Term, node: ast.AST) -> Term:
        is_equality = isinstance(op, ast.Eq | ast.NotEq)
        left, right = (self.same_type if is_equality else self.in_one_order)([left, right], node)
        if left.kind.equals(NULL):
            return retyped(left, BOOL)
        kernels = {
            ast.Eq: pc.equal,
            ast.NotEq: pc.not_equal,
            ast.Lt: pc.less,
            ast.LtE: pc.less_equal,
            ast.Gt: pc.greater,
            ast.GtE: pc.greater_equal,
        }
        return applied(BOOL, kernels[type(op)], left, right)

    def _is_in(self, left: ast.expr, options: list[ast.expr], node: ast.AST, *, negated: bool) -> Term:
        term = self.term(left)
        values = [self._literal(option) for option in options]
        if any(value.kind.equals(NULL) for value in values):
            raise self.refused(node, "None is in no list; ask `is None`")
        first, *others = self.same_type([term, *values], node)
        allowed = pa.concat_arrays([pa.repeat(_value(other), 1) for other in others])

        def kernel(column: pa.Array) -> pa.Array:
            found = pc.is_in(column, value_set=allowed)
            found = pc.invert(found) if negated else found
            return pc.if_else(pc.is_valid(column), found, nulls(BOOL, 1)[0])

        return applied(BOOL, kernel, first)

    def _call(self, node: ast.Call) -> Term:
        from shared.pipeline.preparing.functions import FUNCTIONS

        name = grammar.function_name(node)
        if name == "col":
            return self.column(str(grammar.literal(node.args[0])))
        return FUNCTIONS[name](self, node)


def compile_expression(text: str, schema: pa.Schema, field: str) -> Term:
    """The typed expression of a text over a schema. Raises `MappingError` naming `field`."""
    return Compiler(schema, field).term(grammar.parse(text, field))


def applied(kind: pa.DataType, kernel: Callable[..., pa.Array], *terms: Term) -> Term:
    """A kernel over the values of other expressions; rows that one of them or the kernel cannot compute are bad."""

    def evaluate(batch: pa.RecordBatch) -> Computed:
        found = [term.evaluate(batch) for term in terms]
        result = attempt(kernel, kind, *(one.values for one in found))
        values = result.values if result.values.type.equals(kind) else pc.cast(result.values, kind)
        return computed(values, result.bad, *(one.bad for one in found))

    return Term(kind, evaluate)


def _narrowed(
    kernel: Callable[..., pa.Array], kind: pa.DataType, left: tuple[Term, pa.DataType], right: tuple[Term, pa.DataType]
) -> Term:
    """A kernel over wider decimals, narrowed to 38 digits: a result that does not fit makes its row bad."""

    def compute(one: pa.Array, other: pa.Array) -> pa.Array:
        return pc.cast(kernel(pc.cast(one, left[1]), pc.cast(other, right[1])), kind)

    return applied(kind, compute, left[0], right[0])


def literal_term(value: str | int | float | bool | None) -> Term:  # noqa: FBT001 - a JSON value
    """A constant in the type that JSON gives it."""
    if value is None:
        return Term(NULL, lambda batch: Computed(nulls(NULL, batch.num_rows)), (None,))
    kind = {bool: BOOL, int: INT, float: DOUBLE, str: STRING}[type(value)]
    if kind.equals(INT) and not -(2**63) <= value < 2**63:  # type: ignore[operator]
        kind = pa.decimal128(MAX_DIGITS, 0)
    return _constant(casting.constant_of(value, kind), (value,))


def retyped(term: Term, kind: pa.DataType) -> Term:
    """The literal None as another type."""
    return Term(kind, lambda batch: Computed(nulls(kind, batch.num_rows)), term.literal)


def named(kind: pa.DataType) -> str:
    """A type for a message."""
    return "null" if kind.equals(NULL) else type_name(kind)


def _constant(value: pa.Scalar, literal: tuple[str | int | float | bool | None]) -> Term:
    return Term(value.type, lambda batch: Computed(pa.repeat(value, batch.num_rows)), literal)


def _value(term: Term) -> pa.Scalar:
    return term.evaluate(ONE_ROW).values[0]


ONE_ROW = pa.RecordBatch.from_arrays([pa.nulls(1)], names=[""])


def _widened_for(common: pa.DataType, term: Term) -> pa.DataType:
    """The type that also holds a literal: `hours * 1.5` on whole numbers is a double, `price + 0.125` keeps its places."""
    if term.literal is None or isinstance(term.literal[0], bool | str | None):
        return common
    if common.equals(INT) and term.kind.equals(DOUBLE):
        return DOUBLE
    if pa.types.is_decimal(common):
        _, _, decimals = casting.json_text(term.literal[0]).partition(".")
        whole = max(
            common.precision - common.scale, len(casting.json_text(term.literal[0]).partition(".")[0].lstrip("-"))
        )
        scale = max(common.scale, len(decimals))
        return pa.decimal128(min(whole + scale, MAX_DIGITS), min(scale, MAX_DIGITS))
    return common


def _not(term: Term) -> Term:
    return applied(BOOL, pc.invert, term)


def _is_null(term: Term, *, negated: bool) -> Term:
    def evaluate(batch: pa.RecordBatch) -> Computed:
        found = term.evaluate(batch)
        return computed((pc.is_valid if negated else pc.is_null)(found.values), found.bad)

    return Term(BOOL, evaluate)


def _joined(is_and: bool, terms: Sequence[Term]) -> Term:  # noqa: FBT001 - which of the two operators
    """`and` and `or` of three values. A side that decides alone makes what is bad on the other side harmless."""
    kernel = pc.and_kleene if is_and else pc.or_kleene

    def evaluate(batch: pa.RecordBatch) -> Computed:
        found = terms[0].evaluate(batch)
        for term in terms[1:]:
            other = term.evaluate(batch)
            bad = either(found.bad, other.bad)
            if bad is not None:
                decided = either(_decides(found, is_and), _decides(other, is_and))
                bad = pc.and_(bad, pc.invert(decided))
            found = computed(kernel(found.values, other.values), bad)
        return found

    return Term(BOOL, evaluate)


def _decides(side: Computed, is_and: bool) -> pa.BooleanArray:  # noqa: FBT001 - which of the two operators
    """Where a side is false (for `and`) or true (for `or`), which settles the result."""
    values = pc.invert(side.values) if is_and else side.values
    return pc.fill_null(values, casting.constant("false", BOOL))  # a bad row is null, so it decides nothing


def _chosen(test: Term, body: Term, orelse: Term) -> Term:
    def evaluate(batch: pa.RecordBatch) -> Computed:
        asked = test.evaluate(batch)
        is_true = pc.fill_null(asked.values, casting.constant("false", BOOL))
        yes, no = body.evaluate(batch), orelse.evaluate(batch)
        bad = None
        if yes.bad is not None or no.bad is not None:
            none = casting.none_bad(batch.num_rows)
            bad = pc.if_else(is_true, none if yes.bad is None else yes.bad, none if no.bad is None else no.bad)
        return computed(pc.if_else(is_true, yes.values, no.values), bad, asked.bad)

    return Term(body.kind, evaluate)
