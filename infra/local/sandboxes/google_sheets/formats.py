"""Cell formats of a sheet as rules over rectangles: later rules win, and a rule that is covered by a later one is dropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .a1 import Rect
from .masks import copy_fields

Path = tuple[str, ...]


@dataclass(frozen=True)
class FormatRule:
    """Within `rect`, the fields at `paths` of the cell's format are as in `format`; a path `("*",)` replaces everything."""

    rect: Rect
    paths: tuple[Path, ...]
    format: dict[str, Any]

    def covers(self, other: FormatRule) -> bool:
        return self.rect.contains(other.rect) and (
            ("*",) in self.paths or all(any(path[: len(p)] == p for p in self.paths) for path in other.paths)
        )


class Formats:
    """The rules of one sheet, oldest first."""

    def __init__(self, rules: list[FormatRule] | None = None) -> None:
        self.rules = rules or []
        self.changed = False

    def clone(self) -> Formats:
        return Formats(list(self.rules))

    def add(self, rule: FormatRule) -> None:
        """Apply a rule over what is there."""
        if rule.rect.rows <= 0 or rule.rect.columns <= 0:
            return
        self.rules = [old for old in self.rules if not rule.covers(old)]
        self.rules.append(rule)
        self.changed = True

    def at(self, row: int, column: int) -> dict[str, Any]:
        """The user-entered format of a cell; empty if it has none."""
        found: dict[str, Any] = {}
        here = Rect(row, row + 1, column, column + 1)
        for rule in self.rules:
            if not rule.rect.contains(here):
                continue
            if ("*",) in rule.paths:
                found = {}
                for key in rule.format:
                    copy_fields(rule.format, found, (key,))
                continue
            for path in rule.paths:
                found = {key: dict(value) if isinstance(value, dict) else value for key, value in found.items()}
                copy_fields(rule.format, found, path)
        return {key: value for key, value in found.items() if value not in ({}, None)}

    def number_format(self, row: int, column: int) -> dict[str, Any]:
        """`{"type", "pattern"?}` of a cell; empty for the automatic format."""
        if not any(r.rect.left <= column < r.rect.right and r.rect.top <= row < r.rect.bottom for r in self.rules):
            return {}
        found = self.at(row, column).get("numberFormat")
        return found if isinstance(found, dict) else {}

    def copy_to(self, source: Rect, target: Formats, destination: Rect) -> None:
        """Make the destination look like the source (both of one size)."""
        rows, columns = destination.top - source.top, destination.left - source.left
        copied = [
            FormatRule(part.moved(rows, columns), rule.paths, rule.format)
            for rule in self.rules
            if (part := rule.rect.overlap(source))
        ]
        target.add(FormatRule(destination, (("*",),), {}))
        for rule in copied:
            target.add(rule)

    def shift(self, dimension: str, start: int, count: int) -> None:
        """Move rules when `count` rows or columns are inserted (positive) or deleted (negative) at `start`."""
        self.rules = [moved for rule in self.rules if (moved := _shifted(rule, dimension, start, count))]
        self.changed = True

    def to_json(self) -> list[Any]:
        return [
            [[r.rect.top, r.rect.bottom, r.rect.left, r.rect.right], [list(p) for p in r.paths], r.format]
            for r in self.rules
        ]

    @classmethod
    def from_json(cls, value: list[Any]) -> Formats:
        return cls([FormatRule(Rect(*rect), tuple(tuple(p) for p in paths), form) for rect, paths, form in value])


def _shifted(rule: FormatRule, dimension: str, start: int, count: int) -> FormatRule | None:
    rect = rule.rect
    low, high = (rect.top, rect.bottom) if dimension == "ROWS" else (rect.left, rect.right)

    def move(edge: int) -> int:
        if count >= 0:
            return edge + count if edge > start else edge
        return edge if edge <= start else max(start, edge + count)

    low, high = (low + count if count > 0 and low >= start else move(low)), move(high)
    if high <= low:
        return None
    moved = Rect(low, high, rect.left, rect.right) if dimension == "ROWS" else Rect(rect.top, rect.bottom, low, high)
    return FormatRule(moved, rule.paths, rule.format)
