"""How the columns of a job differ from those that the last success on its target delivered, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from shared.errors import SourceError
from shared.models import Contract, Drift
from shared.pipeline.formats.column_types import schema_of, type_name


class ContractBrokenError(SourceError):
    """What a contract freezes is not so: the job fails."""


Columns = Sequence[tuple[str, str]]
"""Names and type names, in order."""


@dataclass(frozen=True)
class Change:
    """A column whose type changed."""

    name: str
    before: str
    now: str


@dataclass(frozen=True)
class Found:
    """What differs; all empty where nothing does."""

    added: tuple[tuple[str, str], ...] = ()
    gone: tuple[tuple[str, str], ...] = ()
    changed: tuple[Change, ...] = ()

    def to_json(self) -> dict[str, Any] | None:
        """As the job shows it; None where nothing differs."""
        if not (self.added or self.gone or self.changed):
            return None
        return {
            "added": [{"name": name, "type": kind} for name, kind in self.added],
            "gone": [{"name": name, "type": kind} for name, kind in self.gone],
            "changed": [{"name": one.name, "from": one.before, "to": one.now} for one in self.changed],
        }


def columns_of(schema: pa.Schema) -> list[tuple[str, str]]:
    """The columns of a schema as they are remembered of a target."""
    return [(field.name, type_name(field.type)) for field in schema]


def compare(before: Columns | None, now: Columns) -> Found | None:
    """What differs between two lists of columns, whatever their order; None if nothing was delivered before."""
    if before is None:
        return None
    old, new = dict(before), dict(now)
    return Found(
        tuple((name, kind) for name, kind in now if name not in old),
        tuple((name, kind) for name, kind in before if name not in new),
        tuple(Change(name, old[name], kind) for name, kind in now if name in old and old[name] != kind),
    )


@dataclass(frozen=True)
class Policy:
    """What a contract does about a drift: columns that are left out, those whose rows go too, and casts to former types."""

    left_out: frozenset[str] = frozenset()
    rows_out: frozenset[str] = frozenset()
    cast_back: dict[str, tuple[pa.DataType, Drift]] | None = None


def decide(found: Found | None, contract: Contract) -> Policy:
    """What to do about what differs.

    Raises:
        ContractBrokenError: the contract freezes what changed; the message names every such column.
    """
    if found is None:
        return Policy()

    def of(name: str, general: Drift) -> Drift:
        rules = contract.columns.get(name)
        return rules.on_drift if rules is not None and rules.on_drift is not None else general

    frozen = [
        f"{name!r} is new ({kind})" for name, kind in found.added if of(name, contract.new_columns) is Drift.FREEZE
    ]
    frozen += [f"{name!r} is gone" for name, _ in found.gone if of(name, contract.gone_columns) is Drift.FREEZE]
    frozen += [
        f"{one.name!r} was {one.before} and is {one.now}"
        for one in found.changed
        if of(one.name, contract.changed_types) is Drift.FREEZE
    ]
    if frozen:
        message = (
            f"the columns differ from the last success on this target, and the contract freezes them: {'; '.join(frozen[:20])}; "
            "mend the source, map the columns, or let the contract evolve"
        )
        raise ContractBrokenError(message, code="contract_broken")
    discards = (Drift.DISCARD_ROW, Drift.DISCARD_VALUE)
    new = {name: of(name, contract.new_columns) for name, _ in found.added}
    former = schema_of({one.name: one.before for one in found.changed})
    changed = {one.name: of(one.name, contract.changed_types) for one in found.changed}
    return Policy(
        frozenset(name for name, drift in new.items() if drift in discards),
        frozenset(name for name, drift in new.items() if drift is Drift.DISCARD_ROW),
        {
            name: (former.field(name).type, drift)
            for name, drift in changed.items()
            if drift in discards and not (name in contract.columns and contract.columns[name].type)
        },
    )
