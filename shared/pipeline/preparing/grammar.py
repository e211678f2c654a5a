"""The expressions of a mapping: a small subset of Python's, parsed by `ast` and never evaluated by Python.

```
expression  literal | column | expression operator expression | function(expression, …) | a if condition else b
literal     12  -1.5  'text'  True  False  None
column      hours   or, where the name is no identifier:   col('Total hours')
operators   + - * /   == != < <= > >=   in  not in (with a list of literals)   is None  is not None   and  or  not
function    one of `FUNCTIONS`
```
Null behaves as in SQL: an operator on null gives null, `and` and `or` know three values, and a condition that is null is not true.
Only parsing is done here, so that a request is checked without pyarrow; `compute` gives the tree its types and values.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from shared.errors import MappingError

MAX_CHARS = 2_000
MAX_NODES = 300  # our choice
MAX_DEPTH = 40  # our choice: far below Python's own limit


@dataclass(frozen=True)
class Signature:
    """How a function is called: how many arguments, and which of them (zero-based) must be literals."""

    least: int
    most: int
    literals: tuple[int, ...] = ()


_ANY = 50
FUNCTIONS: dict[str, Signature] = {
    "abs": Signature(1, 1),
    "add_days": Signature(2, 2),
    "cast": Signature(2, 2, (1,)),
    "ceil": Signature(1, 1),
    "coalesce": Signature(2, _ANY),
    "col": Signature(1, 1, (0,)),
    "concat": Signature(2, _ANY),
    "contains": Signature(2, 2, (1,)),
    "date": Signature(1, 1),
    "day": Signature(1, 1),
    "days_between": Signature(2, 2),
    "ends_with": Signature(2, 2, (1,)),
    "floor": Signature(1, 1),
    "greatest": Signature(2, _ANY),
    "hour": Signature(1, 1),
    "instant": Signature(2, 2, (1,)),
    "least": Signature(2, _ANY),
    "length": Signature(1, 1),
    "local_time": Signature(2, 2, (1,)),
    "lower": Signature(1, 1),
    "matches": Signature(2, 2, (1,)),
    "minute": Signature(1, 1),
    "month": Signature(1, 1),
    "null_if": Signature(2, 2),
    "pad_left": Signature(3, 3, (1, 2)),
    "replace": Signature(3, 3, (1, 2)),
    "round": Signature(1, 2, (1,)),
    "second": Signature(1, 1),
    "split_part": Signature(3, 3, (1, 2)),
    "start_of": Signature(2, 2, (1,)),
    "starts_with": Signature(2, 2, (1,)),
    "substring": Signature(2, 3, (1, 2)),
    "trim": Signature(1, 1),
    "try_cast": Signature(2, 2, (1,)),
    "upper": Signature(1, 1),
    "year": Signature(1, 1),
}
BINARY = (ast.Add, ast.Sub, ast.Mult, ast.Div)
COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.Is, ast.IsNot)
CONSTANTS = (bool, int, float, str, type(None))


def parse(text: str, field: str) -> ast.expr:
    """Return the tree of an expression, which holds nothing but what the grammar has. `field` says where it stands.

    Raises:
        MappingError: it is not an expression of the grammar; the message says what is wrong and where.
    """
    if len(text) > MAX_CHARS:
        raise _refused(
            field, f"the expression has {len(text)} characters; at most {MAX_CHARS} are taken, longer is SQL"
        )
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as exc:
        at = f" at character {exc.offset}" if isinstance(exc, SyntaxError) and exc.offset else ""
        raise _refused(field, f"{text[:80]!r} is not an expression{at}: {getattr(exc, 'msg', None) or exc}") from exc
    if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
        raise _refused(field, f"the expression has more than {MAX_NODES} parts; make it smaller, or use SQL")
    _check(tree, field, 0)
    return tree


def columns_of(tree: ast.expr) -> list[str]:
    """The names of the columns that a parsed expression reads, each once, in the order of the tree."""
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and id(node) not in called:
            found[node.id] = None
        elif isinstance(node, ast.Call) and function_name(node) == "col":
            found[str(literal(node.args[0]))] = None
    return list(found)


def function_name(node: ast.Call) -> str:
    """The name of a called function; empty if it is not called by a plain name."""
    return node.func.id if isinstance(node.func, ast.Name) else ""


def is_literal(node: ast.expr) -> bool:
    """Whether a node is a constant, or a number with a sign."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
        return isinstance(node, ast.Constant) and type(node.value) in (int, float)
    return isinstance(node, ast.Constant) and type(node.value) in CONSTANTS


def literal(node: ast.expr) -> str | int | float | bool | None:
    """The value of a node for which `is_literal` holds."""
    if isinstance(node, ast.UnaryOp):
        value = literal(node.operand)
        assert isinstance(value, int | float)
        return -value
    assert isinstance(node, ast.Constant)
    found = node.value
    assert isinstance(found, str | int | float | bool | None)
    return found


def _check(node: ast.expr, field: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _refused(field, f"the expression is nested more than {MAX_DEPTH} deep; make it flatter, or use SQL")
    for child in _children(node, field):
        _check(child, field, depth + 1)


def _children(node: ast.expr, field: str) -> list[ast.expr]:
    match node:
        case ast.Constant() if is_literal(node):
            return []
        case ast.Name():
            return []
        case ast.BinOp(left=left, op=op, right=right) if isinstance(op, BINARY):
            return [left, right]
        case ast.UnaryOp(op=ast.USub() | ast.Not(), operand=operand):
            return [operand]
        case ast.BoolOp(values=values):
            return values
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return [test, body, orelse]
        case ast.Compare():
            return _compared(node, field)
        case ast.Call():
            return _arguments(node, field)
    raise _refused(field, f"{ast.unparse(node)[:80]!r} is not part of an expression here; {_HINT}")


_HINT = "literals, column names, + - * /, comparisons, in, is None, and, or, not, `a if c else b` and functions are"


def _compared(node: ast.Compare, field: str) -> list[ast.expr]:
    operands = [node.left]
    for op, right in zip(node.ops, node.comparators, strict=True):
        if isinstance(op, ast.In | ast.NotIn):
            if not isinstance(right, ast.List | ast.Tuple) or not right.elts or not all(map(is_literal, right.elts)):
                raise _refused(
                    field, f"`in` takes a list of literals, such as ['a', 'b'], not {ast.unparse(right)[:80]!r}"
                )
        elif isinstance(op, ast.Is | ast.IsNot):
            if not isinstance(right, ast.Constant) or right.value is not None:
                raise _refused(field, "`is` and `is not` are for None; compare values with == and !=")
        else:
            operands.append(right)
    if len(node.ops) > 1 and len(operands) != len(node.ops) + 1:
        raise _refused(field, "`in` and `is` cannot be chained with other comparisons; join them with and")
    return operands


def _arguments(node: ast.Call, field: str) -> list[ast.expr]:
    name = function_name(node)
    signature = FUNCTIONS.get(name)
    if signature is None:
        known = ", ".join(sorted(FUNCTIONS))
        raise _refused(field, f"there is no function {ast.unparse(node.func)[:80]!r}; there are {known}")
    if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
        raise _refused(field, f"{name}() takes its arguments by position")
    if not signature.least <= len(node.args) <= signature.most:
        takes = f"{signature.least}" if signature.least == signature.most else f"{signature.least} to {signature.most}"
        raise _refused(field, f"{name}() takes {takes} arguments, not {len(node.args)}")
    for position in signature.literals:
        if position < len(node.args) and not is_literal(node.args[position]):
            raise _refused(field, f"argument {position + 1} of {name}() must be a literal")
    if name == "col" and not isinstance(literal(node.args[0]), str):
        raise _refused(field, "col() takes the column's name as text")
    return node.args


def _refused(field: str, message: str) -> MappingError:
    return MappingError(f"{field}: {message}", field=field)
