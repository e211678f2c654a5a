"""The closed list of what vendors are known to do beyond their machine-readable contracts, each with its source.

`Known` entries forgive findings; `BEYOND` describes, in OpenAPI 3 form and in our words, the routes that the contracts lack,
so that requests and answers there are checked as strictly. COVERAGE.md shows the list; `python -m
tests.conformance.contracts.known` prints it anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.conformance.contracts.beyond import ENTRIES
from tests.conformance.contracts.exchange import Finding
from tests.conformance.contracts.schema import Schema, SchemaChecker

BEGIN, END = "<!-- known: begin -->", "<!-- known: end -->"


@dataclass(frozen=True)
class Known:
    """One thing that a contract lacks.

    Attributes:
        side, kind: as of `Finding`.
        operation, at: as of `Finding`; `*` stands for any text.
        what: for a reader.
        source: a URL, `owner/repository:path` or `owner/repository#number`.
        schema: what its value must be, where that is known.
    """

    vendor: str
    side: str
    kind: str
    operation: str
    at: str
    what: str
    source: str
    schema: Schema = field(default_factory=dict, compare=False)

    def covers(self, finding: Finding) -> bool:
        """Whether this entry explains the finding, its value included."""
        same = (self.vendor, self.side, self.kind) == (finding.vendor, finding.side, finding.kind)
        if not same or not _like(self.operation, finding.operation) or not _like(self.at, finding.at):
            return False
        return not self.schema or not list(SchemaChecker({}).check(self.schema, finding.value))


KNOWN: tuple[Known, ...] = tuple(Known(*entry) for entry in ENTRIES)


class Ledger:
    """Sorts findings into known and unknown ones, and remembers which entries were needed."""

    def __init__(self, entries: Iterable[Known] = KNOWN) -> None:
        self.entries = tuple(entries)
        self.needed: dict[Known, int] = {}

    def unknown(self, findings: Iterable[Finding]) -> list[Finding]:
        """The findings that no entry explains."""
        left = []
        for finding in findings:
            entry = next((each for each in self.entries if each.covers(finding)), None)
            if entry is None:
                left.append(finding)
            else:
                self.needed[entry] = self.needed.get(entry, 0) + 1
        return left

    def dead(self) -> list[Known]:
        """Entries that nothing needed."""
        return [entry for entry in self.entries if entry not in self.needed]


def as_table(entries: Iterable[Known] = KNOWN) -> str:
    """The list as COVERAGE.md shows it, between its marks."""
    lines = ["| vendor | where | what | source |", "|---|---|---|---|"]
    for one in entries:
        place = "any route" if one.operation == "*" else f"`{one.operation}`"
        at = f" `{one.at}`" if one.at else ""
        lines.append(f"| {one.vendor} | {one.side} of {place}: {one.kind}{at} | {one.what} | {one.source} |")
    return "\n".join([BEGIN, *lines, END])


def _like(pattern: str, text: str) -> bool:
    return re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), text, re.DOTALL) is not None


if __name__ == "__main__":
    print(as_table())
