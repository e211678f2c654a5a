"""Every place in the code that writes an audit entry, found in the code itself: a new one is there as soon as it is written."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Place:
    """One call of `audit.record`: its file, its action, and the call as it is written there."""

    file: str
    action: str
    call: str

    @property
    def name(self) -> str:
        return f"{self.action} by {Path(self.file).stem}"


def places() -> list[Place]:
    """Return every place below `shared`, ordered. Raises `ValueError` where an action is not written out: nobody could look for it."""
    return [place for path in sorted((ROOT / "shared").rglob("*.py")) for place in _places_in(path)]


def _places_in(path: Path) -> Iterator[Place]:
    text, file = path.read_text(), path.relative_to(ROOT).as_posix()
    for node in ast.walk(ast.parse(text)):
        if not (isinstance(node, ast.Call) and ast.unparse(node.func) in ("audit.record", "record")):
            continue
        match node.args:
            case [_, _, ast.Constant(value=str(action)), *_]:
                yield Place(file, action, ast.get_source_segment(text, node) or "")
            case _:
                said = "the third argument of audit.record is to be the action, written out"
                raise ValueError(f"{file}:{node.lineno}: {said}")
