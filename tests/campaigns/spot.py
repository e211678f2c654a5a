"""`POINT=`: which course of a part is run, and which of its runs; what a failing run is printed with, so that it can be seen again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Spot:
    """`POINT=target/mode/what`. An empty part, and one that is left out, stands for all; `what` is the part's own word.

    `what` is a point's number (`kill`, `pause`; `144!` where the rival gives up its wait for a lock), two of them (`pairs`: `7+31`),
    a rate (`faults`) or a call (`replies`).
    """

    target: str = ""
    mode: str = ""
    what: str = ""

    @classmethod
    def parse(cls, text: str) -> Spot:
        """Raises `ValueError` if the text has more than three parts."""
        parts = text.split("/") if text else []
        if len(parts) > 3:
            raise ValueError(f"a point is target/mode/what, e.g. looker/append/17, got {text!r}")
        return cls(*parts)

    def takes(self, target: str, mode: str = "") -> bool:
        """Whether a course, or any mode of a target, belongs to the spot."""
        return self.target in ("", target) and (not mode or self.mode in ("", mode))


ANYWHERE = Spot()


def replay(part: str, target: str, mode: str, what: object, seed: int | None = None) -> str:
    """Return the command that runs exactly this again."""
    said = f"make campaign PART={part} POINT={target}/{mode}/{what}"
    return said if seed is None else f"{said} SEED={seed}"
