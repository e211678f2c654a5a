"""Mapping and contract as a slow program over single rows: obviously right, and of no kernel of the shipped code."""

from __future__ import annotations

import ast
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

BAD = object()
"""What has no value because it cannot be computed."""
NULL = None
Row = dict[str, Any]


def evaluate(text: str, row: Row) -> Any:
    """The value of an expression in one row, or BAD."""
    return _value(ast.parse(text, mode="eval").body, row)


def _value(node: ast.expr, row: Row) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return row[name]
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=value)):
            return -value
        case ast.UnaryOp(op=op, operand=operand):
            value = _value(operand, row)
            if value is BAD or value is None:
                return value
            return (not value) if isinstance(op, ast.Not) else _in_64_bits(-value)
        case ast.BinOp(left=left, op=op, right=right):
            return _arithmetic(op, *_alike(left, right, row))
        case ast.BoolOp(op=op, values=values):
            return _logic(isinstance(op, ast.And), [_value(value, row) for value in values])
        case ast.IfExp(test=test, body=body, orelse=orelse):
            asked = _value(test, row)
            if asked is BAD:
                return BAD
            yes, no = _alike(body, orelse, row)
            return yes if asked is True else no
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return _compare(op, left, right, row)
        case ast.Call(func=ast.Name(id=name), args=args):
            return _call(name, args, row)
    raise AssertionError(ast.dump(node))


def kind_of(node: ast.expr) -> type | None:
    """The type of an expression over the columns n, m, k (int), x (float), d (Decimal), s (str), b (bool), day (date)."""
    match node:
        case ast.Constant(value=value):
            return None if value is None else type(value)
        case ast.Name(id=name):
            return {"n": int, "m": int, "k": int, "x": float, "d": Decimal, "s": str, "b": bool, "day": date}[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return kind_of(operand)
        case ast.BinOp(left=left, op=op, right=right):
            return float if isinstance(op, ast.Div) else _wider(kind_of(left), kind_of(right))
        case ast.IfExp(body=body, orelse=orelse):
            return _wider(kind_of(body), kind_of(orelse))
        case ast.Call(func=ast.Name(id=name), args=args):
            if name in ("length", "year", "month", "day", "days_between"):
                return int
            if name in ("coalesce", "least", "greatest", "null_if"):
                return _wider(kind_of(args[0]), kind_of(args[1]))
            if name in ("abs", "round"):
                return kind_of(args[0])
            return date if name in ("add_days", "start_of") else bool if name in ("contains", "matches") else str
    return bool


def _wider(one: type | None, other: type | None) -> type | None:
    if one is None or other is None:
        return one or other
    for kind in (Decimal, float):
        if kind in (one, other):
            return kind
    return one


def _alike(left: ast.expr, right: ast.expr, row: Row) -> tuple[Any, Any]:
    kind = _wider(kind_of(left), kind_of(right))
    return _as(_value(left, row), kind), _as(_value(right, row), kind)


def _as(value: Any, kind: type | None) -> Any:
    if value is BAD or value is None or kind is None or isinstance(value, kind):
        return value
    if kind is Decimal:
        return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if kind is float:
        return BAD if abs(value) > 2**53 else float(value)
    return value


def _in_64_bits(value: Any) -> Any:
    return BAD if isinstance(value, int) and not -(2**63) <= value < 2**63 else value


def _arithmetic(op: ast.operator, left: Any, right: Any) -> Any:
    if isinstance(op, ast.Div):
        left, right = _as(left, float), _as(right, float)
    if left is BAD or right is BAD:
        return BAD
    if left is None or right is None:
        return None
    match op:
        case ast.Add():
            return _in_64_bits(left + right)
        case ast.Sub():
            return _in_64_bits(left - right)
        case ast.Mult():
            return _in_64_bits(left * right)
    return BAD if right == 0 else left / right


def _logic(is_and: bool, values: list[Any]) -> Any:
    decides = not is_and
    if any(value is decides for value in values):
        return decides
    if any(value is BAD for value in values):
        return BAD
    return None if any(value is None for value in values) else is_and


def _compare(op: ast.cmpop, left: ast.expr, right: ast.expr, row: Row) -> Any:
    if isinstance(op, ast.Is | ast.IsNot):
        value = _value(left, row)
        return BAD if value is BAD else (value is None) == isinstance(op, ast.Is)
    if isinstance(op, ast.In | ast.NotIn):
        assert isinstance(right, ast.List)
        value = _value(left, row)
        if value is BAD or value is None:
            return value
        return any(value == _value(option, row) for option in right.elts) == isinstance(op, ast.In)
    one, other = _alike(left, right, row)
    if one is BAD or other is BAD:
        return BAD
    if one is None or other is None:
        return None
    return {
        ast.Eq: one == other,
        ast.NotEq: one != other,
        ast.Lt: one < other,
        ast.LtE: one <= other,
        ast.Gt: one > other,
        ast.GtE: one >= other,
    }[type(op)]


def _call(name: str, args: list[ast.expr], row: Row) -> Any:
    if name in ("coalesce", "null_if", "least", "greatest"):
        one, other = _alike(args[0], args[1], row)
        if name == "coalesce":
            return other if one is None else one
        if one is BAD or other is BAD:
            return BAD
        if name == "null_if":
            return None if one is not None and one == other else one
        if one is None or other is None:
            return None
        if one != one:
            return other
        return one if other != other else (min if name == "least" else max)(one, other)
    values = [_value(arg, row) for arg in args]
    if any(value is BAD for value in values):
        return BAD
    if any(value is None for value in values):
        return None
    return _function(name, values)


def _function(name: str, v: list[Any]) -> Any:  # noqa: C901 - one line a function
    match name:
        case "abs":
            return _in_64_bits(abs(v[0]))
        case "round":
            return (
                v[0].quantize(Decimal(1).scaleb(-v[1]), rounding=ROUND_HALF_UP) if isinstance(v[0], Decimal) else v[0]
            )
        case "length":
            return len(v[0])
        case "lower":
            return v[0].lower()
        case "upper":
            return v[0].upper()
        case "concat":
            return "".join(v)
        case "substring":
            return v[0][v[1] - 1 : v[1] - 1 + v[2]]
        case "replace":
            return v[0].replace(v[1], v[2])
        case "split_part":
            parts = v[0].split(v[1])
            return parts[v[2] - 1] if len(parts) >= v[2] else None
        case "pad_left":
            return v[0].rjust(v[1], v[2])
        case "contains":
            return v[1] in v[0]
        case "year":
            return v[0].year
        case "month":
            return v[0].month
        case "day":
            return v[0].day
        case "days_between":
            return (v[1] - v[0]).days
        case "start_of":
            return v[0].replace(day=1)
        case "add_days":
            try:
                return v[0] + timedelta(days=v[1])
            except OverflowError:
                return BAD
    raise AssertionError(name)


def text(value: Any) -> str | None:
    """A value as the rejects show it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat()
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def check(  # noqa: C901 - a list of rules
    rows: list[Row], contract: dict[str, Any], columns: list[str]
) -> tuple[list[Row], list[Any], Any]:
    """Delivered rows, broken rules as (row, column, rule, discarded), and where the job fails (or None). Rules of the column
    entries `required`, `allowed`, `minimum`, `maximum`, `unique`, and the contract's `key`, decided row by row."""
    left, broken, seen = [], [], {name: set() for name in ["", *columns]}
    for number, row in enumerate(rows, 1):
        row = dict(row)
        found: list[tuple[str, str, str]] = []
        for name in columns:
            rules = contract["columns"].get(name, {})
            policy = rules.get("on_breach") or contract["on_breach"]
            value = row[name]
            if value is not None:
                flaws = [
                    rule
                    for rule in ("allowed", "minimum", "maximum")
                    if rule in rules and _breaks(rule, rules[rule], value)
                ]
                found += [(name, rule, policy) for rule in flaws]
                if flaws and policy == "discard_value":
                    row[name] = None
            if rules.get("required") and row[name] is None:
                found.append((name, "required", _whole(policy)))
            if name in contract.get("key", []) and row[name] is None:
                found.append((name, "key", _whole(policy)))
        is_out = any(policy == "discard_row" for _, _, policy in found)
        keys = [("key", contract["key"])] if contract.get("key") else []
        keys += [("unique", [name]) for name in contract["columns"] if contract["columns"][name].get("unique")]
        for rule, names in keys:
            key = tuple(_same(row[name]) for name in names)
            if is_out or None in key:
                continue
            where = "" if rule == "key" else names[0]
            policy = _whole(contract["columns"].get(names[0], {}).get("on_breach") or contract["on_breach"])
            if key in seen[where]:
                found.append((names[0], rule, policy))
                is_out = True
            seen[where].add(key)
        for name, rule, policy in found:
            if policy == "freeze":
                return [], [], number
            broken.append((number, name, rule, "value" if policy == "discard_value" else "row"))
        if not is_out:
            left.append(row)
    return left, broken, None


def _whole(policy: str) -> str:
    return "discard_row" if policy == "discard_value" else policy


def _same(value: Any) -> Any:
    if isinstance(value, float):
        return "nan" if value != value else value + 0.0
    return value


def _breaks(rule: str, bound: Any, value: Any) -> bool:
    if rule == "allowed":
        return not any(value == option for option in bound)
    return not (value >= bound) if rule == "minimum" else not (value <= bound)
