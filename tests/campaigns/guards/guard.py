"""One guard: where it stands, what is left of the code without it, and the test that notices."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Guard:
    """`old` stands once in `file` and becomes `new`; then `test`, a pytest node (of all its parameters, or of one), must fail."""

    name: str
    file: str
    old: str
    new: str
    test: str

    def mutated(self, text: str) -> str:
        """Return the file's text without the guard. Raises `ValueError` if the guard's text is not there exactly once."""
        if text.count(self.old) != 1:
            raise ValueError(
                f"guard {self.name!r}: {self.file} holds {self.old!r} {text.count(self.old)} times; expected once"
            )
        return text.replace(self.old, self.new)
