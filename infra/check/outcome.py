"""What a deployment leaves on Google Cloud, in the same terms whichever way made it: rights, and things with their settings."""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from infra.check.gcloud import ARGUMENTS, SCRIPT, commands_and_files
from infra.check.terraform import ROOT, CheckError, run_to_the_end


class Right(NamedTuple):
    """One permission of one member, or a ready-made role that stays whole; under a condition, on one resource."""

    member: str
    allows: str
    condition: str
    on: str


@dataclass
class Outcome:
    """`things` by kind and name, e.g. `queue bi-export`, with what is set of each."""

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


def rule(action: str, condition: Mapping[str, Any]) -> str:
    """One rule of a bucket's lifecycle. That noncurrent objects are archived goes without saying."""
    named = {re.sub("[A-Z]", lambda m: f"_{m.group().lower()}", name): value for name, value in condition.items()}
    told = sorted((name, str(value)) for name, value in named.items() if value and name != "with_state")
    return f"{action} {told}"


# -- the script


def outcome_of_script(script: Path = SCRIPT) -> Outcome:
    """Read what the script would run on an empty project."""
    commands, files = commands_and_files(script)
    done = Outcome()
    roles: dict[str, list[str]] = {}
    for command in commands:
        words = shlex.split(command)[1:]
        verb = [word for word in words if not word.startswith("--")]
        flags = [word.removeprefix("--").partition("=")[::2] for word in words if word.startswith("--")]
        said = dict(flags)
        if verb[:3] in (["iam", "roles", "create"], ["iam", "roles", "update"]):
            roles[f"projects/{said['project']}/roles/{verb[3]}"] = said["permissions"].split(",")
        elif "add-iam-policy-binding" in verb:
            on = _place(verb, said)
            done.grant(said["member"], said["role"], _condition(said.get("condition", "None")), on, roles)
        elif making := next((make for prefix, make in _MAKERS.items() if verb[: len(prefix)] == list(prefix)), None):
            making(done, verb, said, flags, files)
    return done


def _condition(text: str) -> str:
    found = re.fullmatch(r"expression=(.*),title=[\w-]+", text)
    return found.group(1) if found else "" if text == "None" else text


def _place(verb: list[str], said: Mapping[str, str]) -> str:
    what = verb[verb.index("add-iam-policy-binding") + 1]
    match verb[0], verb[1]:
        case "tasks", _:
            return f"queue {said['location']}/{what}"
        case "run", _:
            return f"service {said['region']}/{what}"
        case "iam", _:
            return f"account {what}"
        case "storage", _:
            return f"bucket {what.removeprefix('gs://')}"
        case "artifacts", _:
            return f"repository projects/{ARGUMENTS[0]}/locations/{said['location']}/repositories/{what}"
    return f"project {what}"


def _pairs(text: str) -> dict[str, str]:
    return dict(pair.partition("=")[::2] for pair in text.split(",")) if text else {}


def _function(done: Outcome, verb: list[str], said: dict[str, str], _: Any, __: Any) -> None:
    done.add(
        f"function {verb[2]}",
        location=said["region"],
        runtime=said["runtime"],
        entry_point=said["entry-point"],
        memory=said["memory"],
        cpu=said["cpu"],
        concurrency=said["concurrency"],
        timeout_s=said["timeout"].removesuffix("s"),
        max_instances=said["max-instances"],
        ingress=said["ingress-settings"],
        account=said["service-account"],
        build_account=said["build-service-account"],
        repository=said["docker-repository"],
        build_settings=_pairs(said["set-build-env-vars"]),
        **settings_of(_pairs(said["set-env-vars"])),
    )


def _queue(done: Outcome, verb: list[str], said: dict[str, str], _: Any, __: Any) -> None:
    names = {
        "max-attempts": "max_attempts",
        "max-retry-duration": "max_retry_duration",
        "min-backoff": "min_backoff",
        "max-backoff": "max_backoff",
        "max-doublings": "max_doublings",
        "max-concurrent-dispatches": "max_concurrent_dispatches",
        "max-dispatches-per-second": "max_dispatches_per_second",
        "location": "location",
    }
    done.add(f"queue {verb[3]}", **{names.get(name, name): value for name, value in said.items()})


def _bucket(done: Outcome, verb: list[str], said: dict[str, str], _: Any, files: Mapping[str, str]) -> None:
    name = f"bucket {verb[3].removeprefix('gs://')}"
    if verb[2] == "create":
        done.add(name, versioning=False, lifecycle=[])
        done.add(name, uniform="uniform-bucket-level-access" in said, location=said["location"])
        done.add(name, public_access_prevention="public-access-prevention" in said)
        done.add(name, soft_delete_s=said.get("soft-delete-duration", "the default").removesuffix("s"))
    if "versioning" in said:
        done.add(name, versioning=True)
    if "lifecycle-file" in said:
        rules = json.loads(files[said["lifecycle-file"]])["rule"]
        done.add(name, lifecycle=sorted(rule(one["action"]["type"], one["condition"]) for one in rules))


def _database(done: Outcome, _: list[str], said: dict[str, str], __: Any, ___: Any) -> None:
    kept = {"point_in_time": "enable-pitr" in said, "delete_protection": "delete-protection" in said}
    kind = said["type"].upper().replace("-", "_")
    done.add(f"database {said['database']}", location=said["location"], type=kind, **kept)


def _index(
    done: Outcome, _: list[str], said: dict[str, str], flags: list[tuple[str, str]], __: Mapping[str, str]
) -> None:
    fields = [_pairs(value) for name, value in flags if name == "field-config"]
    told = " ".join(f"{one['field-path']}:{one['order'].upper()}" for one in fields)
    scope = said["query-scope"].upper()
    done.add(f"index {said['collection-group']} {told}", database=said["database"], scope=scope)


def _expiry(done: Outcome, verb: list[str], said: dict[str, str], _: Any, __: Any) -> None:
    done.add(f"expiry {said['collection-group']}.{verb[4]}", database=said["database"], on="enable-ttl" in said)


def _job(done: Outcome, verb: list[str], said: dict[str, str], _: Any, __: Any) -> None:
    done.add(
        f"job {verb[4]}",
        location=said["location"],
        schedule=said["schedule"],
        time_zone=said["time-zone"],
        uri=said["uri"],
        method=said["http-method"],
        body=said["message-body"],
        headers=_pairs(said.get("headers", "")),
        account=said["oidc-service-account-email"],
        audience=said["oidc-token-audience"],
        deadline=said["attempt-deadline"],
        retries=said["max-retry-attempts"],
    )


def _account(done: Outcome, verb: list[str], _: Any, __: Any, ___: Any) -> None:
    done.add(f"account {verb[3]}")


_MAKERS: dict[tuple[str, ...], Any] = {
    ("functions", "deploy"): _function,
    ("tasks", "queues", "create"): _queue,
    ("tasks", "queues", "update"): _queue,
    ("storage", "buckets", "create"): _bucket,
    ("storage", "buckets", "update"): _bucket,
    ("firestore", "databases", "create"): _database,
    ("firestore", "indexes", "composite", "create"): _index,
    ("firestore", "fields", "ttls", "update"): _expiry,
    ("scheduler", "jobs", "create", "http"): _job,
    ("iam", "service-accounts", "create"): _account,
}
