"""What a deployment leaves on Google Cloud, in the same terms whichever way made it: rights, and things with their settings."""

from __future__ import annotations

import functools
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from infra.check.terraform import ROOT, CheckError, run_to_the_end


class Right(NamedTuple):
    """One permission of one member, or a ready-made role that stays whole; under a condition, on one resource."""

    member: str
    allows: str
    condition: str
    on: str


@dataclass
class Outcome:
    """`things` by kind and name, e.g. `queue bi-export`, with what is set of each; `unread` in sentences what nothing here understands."""

    rights: set[Right] = field(default_factory=set)
    things: dict[str, dict[str, Any]] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)

    def add(self, thing: str, **settings: Any) -> None:
        self.things.setdefault(thing, {}).update(settings)

    def grant(self, member: str, role: str, condition: str, on: str, roles: Mapping[str, list[str]]) -> None:
        """Add what a role allows; one that is not ours stays whole."""
        for allows in roles.get(role, [role]):
            self.rights.add(Right(member, allows, re.sub(r"\s*==\s*", "==", condition), on))


_READ = """
import dataclasses, json, sys
from shared.config import read_settings
from shared.errors import InternalError
try:
    read = dataclasses.asdict(read_settings({**json.load(sys.stdin), "K_SERVICE": "x"}))
    said = {f"setting {name}": sorted(value) if isinstance(value, frozenset) else value for name, value in read.items()}
except (InternalError, ValueError) as error:
    said = {"settings": str(error)}
print(json.dumps(said))
"""


def settings_of(environment: Mapping[str, str]) -> dict[str, Any]:
    """What the code makes of a function's environment, so that a default is the same as saying it; and names that it does not read."""
    odd = tuple(sorted(set(environment) - known_settings()))
    role = {"EXPORT_ROLE": environment.get("EXPORT_ROLE", "api"), "unread settings": odd}
    return {**role, **_read(json.dumps(dict(environment), sort_keys=True))}


@functools.cache
def _read(environment: str) -> dict[str, Any]:
    """Let the code read an environment, as a function does: in a process of its own."""
    done = run_to_the_end([sys.executable, "-c", _READ], ROOT, dict(os.environ), 60, "shared/config.py", environment)
    if done.returncode:
        raise CheckError(f"shared/config.py could not be asked what it reads:\n{done.stderr[-1000:]}")
    found = json.loads(done.stdout)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}


def known_settings() -> set[str]:
    """The names that shared/config.py reads."""
    text = (ROOT / "shared" / "config.py").read_text(encoding="utf-8")
    urls = {f"{name}_URL" for name in ("REGISTER", "EXPORT", "EXPORT_WORKER", "REFRESH")}
    return set(re.findall(r'"([A-Z][A-Z0-9_]{3,})"', text)) | urls


def plain(value: Any) -> Any:
    """JSON of an API and blocks of a plan in one form: names with underscores, a list of one as that one, nothing that is empty."""
    if isinstance(value, Mapping):
        named = {re.sub("[A-Z]", lambda m: f"_{m.group().lower()}", name): plain(one) for name, one in value.items()}
        return {name: one for name, one in sorted(named.items()) if one not in (None, "", [], {})}
    if isinstance(value, list):
        return plain(value[0]) if len(value) == 1 else [plain(one) for one in value]
    return f"{value:g}" if isinstance(value, float) else value if value is None else str(value)


def rule(action: str, condition: Mapping[str, Any]) -> str:
    """One rule of a bucket's lifecycle. That noncurrent objects are archived goes without saying."""
    named = {re.sub("[A-Z]", lambda m: f"_{m.group().lower()}", name): value for name, value in condition.items()}
    told = sorted((name, str(value)) for name, value in named.items() if value and name != "with_state")
    return f"{action} {told}"
