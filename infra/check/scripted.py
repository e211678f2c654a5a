"""What infra/gcloud.sh leaves, in the terms of `outcome`.

Only what is understood is taken: a command, a flag or a program that is not listed here is told, however harmless it looks.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from infra.check.gcloud import ARGUMENTS, SCRIPT, commands_and_files
from infra.check.outcome import Outcome, plain, rule, settings_of


@dataclass(frozen=True)
class Command:
    """One command of a known form: `names` are the words that are no flags, `said` the flags' values by name."""

    form: str
    names: list[str]
    flags: list[tuple[str, str]]
    files: Mapping[str, str]
    roles: dict[str, list[str]]
    said: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.said.update(self.flags)


class Form(NamedTuple):
    """How a command is written: flags that it needs and that it may have, `name=` with a value; how many names, None for any."""

    read: Callable[[Outcome, Command], None]
    needs: str = ""
    takes: str = ""
    names: int | None = 1


def outcome_of_script(script: Path = SCRIPT) -> Outcome:
    """Read what the script would run on an empty project, and then once more, where everything is there."""
    done, roles = Outcome(), dict[str, list[str]]()
    _read(done, *commands_and_files(script, missing=True), roles)
    again = Outcome({*done.rights}, {name: {**settings} for name, settings in done.things.items()})
    _read(again, *commands_and_files(script, missing=False), roles)
    done.unread += again.unread
    changed = sorted(name for name in again.things if again.things[name] != done.things.get(name))
    changed += [" ".join(right) for right in sorted(again.rights - done.rights)]
    done.unread += [f"gcloud.sh, run again, makes something else of {name}" for name in changed]
    return done


def _read(done: Outcome, commands: list[str], files: Mapping[str, str], roles: dict[str, list[str]]) -> None:
    for line in commands:
        program, *words = shlex.split(line)
        if program != "gcloud":
            done.unread.append(f"gcloud.sh runs {program}, which nothing here reads")
        elif not any(words[: len(form.split())] == form.split() for form in READING):
            _read_one(done, words, files, roles)


def _read_one(done: Outcome, words: list[str], files: Mapping[str, str], roles: dict[str, list[str]]) -> None:
    named = next((form for form in FORMS if words[: len(form.split())] == form.split()), None)
    if named is None:
        done.unread.append(f"gcloud.sh: nothing here reads `gcloud {' '.join(words[:4])} …`; add it to scripted.FORMS")
        return
    rest = words[len(named.split()) :]
    names = [word for word in rest if not word.startswith("-")]
    flags = [word.removeprefix("--").partition("=")[::2] for word in rest if word.startswith("-")]
    wrong = list(
        _wrong(
            FORMS[named],
            names,
            [f"{word.partition('=')[0]}{'=' * ('=' in word)}" for word in rest if word.startswith("-")],
        )
    )
    done.unread += [f"gcloud.sh, gcloud {named} {' '.join(names[:1])}: {one}" for one in wrong]
    if not wrong:
        FORMS[named].read(done, Command(named, names, flags, files, roles))


def _wrong(form: Form, names: list[str], written: list[str]) -> Iterator[str]:
    """Say what is not understood of a command. Flags are `written` as `--name`, or `--name=` with a value."""
    needs, takes = ([f"--{flag}" for flag in flags.split()] for flags in (form.needs, form.takes))
    yield from (f"nothing here reads {flag}; see scripted.FORMS" for flag in written if flag not in [*needs, *takes])
    yield from (f"lacks {flag}" for flag in needs if flag not in written)
    yield from (f"says {flag} twice" for flag in {*written} - REPEATED if written.count(flag) > 1)
    if form.names is not None and len(names) != form.names:
        yield f"names {' '.join(names) or 'nothing'}; expected {form.names}"


def _pairs(text: str) -> dict[str, str]:
    return dict(pair.partition("=")[::2] for pair in text.split(",")) if text else {}


# -- what each command does


def _api(done: Outcome, it: Command) -> None:
    for name in it.names:
        done.add(f"api {name}")


def _account(done: Outcome, it: Command) -> None:
    done.add(f"account {it.names[0]}")


def _repository(done: Outcome, it: Command) -> None:
    done.add(f"repository {it.names[0]}", location=it.said["location"], format=it.said["repository-format"].upper())


def _clean_up(done: Outcome, it: Command) -> None:
    policies = {one.pop("name"): plain(one) for one in json.loads(it.files[it.said["policy"]])}
    for policy in policies.values():
        policy["action"] = policy["action"]["type"].upper()
    done.add(f"repository {it.names[0]}", clean_up=policies)


def _role(_: Outcome, it: Command) -> None:
    it.roles[f"projects/{it.said['project']}/roles/{it.names[0]}"] = it.said["permissions"].split(",")


def _grant(done: Outcome, it: Command) -> None:
    what, said = it.names[0], it.said
    on = {
        "projects": f"project {what}",
        "tasks": f"queue {said.get('location')}/{what}",
        "iam": f"account {what}",
        "storage": f"bucket {what.removeprefix('gs://')}",
        "run": f"service {said.get('region')}/{what}",
        "artifacts": f"repository projects/{ARGUMENTS[0]}/locations/{said.get('location')}/repositories/{what}",
    }[it.form.partition(" ")[0]]
    done.grant(said["member"], said["role"], _condition(said.get("condition", "None")), on, it.roles)


def _condition(text: str) -> str:
    found = re.fullmatch(r"expression=(.*),title=[\w-]+", text)
    return found.group(1) if found else "" if text == "None" else text


def _function(done: Outcome, it: Command) -> None:
    said = it.said
    done.add(
        f"function {it.names[0]}",
        location=said["region"],
        runtime=said["runtime"],
        entry_point=said["entry-point"],
        package=said["source"].removeprefix("build/"),
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


def _queue(done: Outcome, it: Command) -> None:
    done.add(f"queue {it.names[0]}", **{name.replace("-", "_"): value for name, value in it.flags})


def _bucket(done: Outcome, it: Command) -> None:
    name, said = f"bucket {it.names[0].removeprefix('gs://')}", it.said
    if it.form.endswith("create"):
        done.add(name, versioning=False, lifecycle=[])
        done.add(name, uniform="uniform-bucket-level-access" in said, location=said["location"])
        done.add(name, public_access_prevention="public-access-prevention" in said)
        done.add(name, soft_delete_s=said.get("soft-delete-duration", "the default").removesuffix("s"))
    if "versioning" in said:
        done.add(name, versioning=True)
    if "lifecycle-file" in said:
        rules = json.loads(it.files[said["lifecycle-file"]])["rule"]
        done.add(name, lifecycle=sorted(rule(one["action"]["type"], one["condition"]) for one in rules))


def _database(done: Outcome, it: Command) -> None:
    kept = {"point_in_time": "enable-pitr" in it.said, "delete_protection": "delete-protection" in it.said}
    kind = it.said["type"].upper().replace("-", "_")
    done.add(f"database {it.said['database']}", location=it.said["location"], type=kind, **kept)


def _index(done: Outcome, it: Command) -> None:
    fields = [_pairs(value) for name, value in it.flags if name == "field-config"]
    told = " ".join(f"{one['field-path']}:{one['order'].upper()}" for one in fields)
    scope = it.said["query-scope"].upper()
    done.add(f"index {it.said['collection-group']} {told}", database=it.said["database"], scope=scope)


def _expiry(done: Outcome, it: Command) -> None:
    done.add(f"expiry {it.said['collection-group']}.{it.names[0]}", database=it.said["database"], on=True)


def _job(done: Outcome, it: Command) -> None:
    said = it.said
    done.add(
        f"job {it.names[0]}",
        location=said["location"],
        schedule=said["schedule"],
        time_zone=said["time-zone"],
        uri=said["uri"],
        method=said["http-method"],
        body=said["message-body"],
        headers=_pairs(said.get("headers", said.get("update-headers", ""))),
        account=said["oidc-service-account-email"],
        audience=said["oidc-token-audience"],
        deadline=said["attempt-deadline"],
        retries=said["max-retry-attempts"],
    )


def _exclusion(done: Outcome, it: Command) -> None:
    (said,) = it.said.values()
    name, _, text = said.partition(",filter=")
    done.add(f"exclusion {name.removeprefix('name=')} of {it.names[0]}", filter=text)


def _nothing(_: Outcome, __: Command) -> None:
    """What it does shows in what follows."""


_TO = "member= role="
_LIMITS = "location= max-attempts= max-retry-duration= min-backoff= max-backoff= max-concurrent-dispatches="
_FUNCTION = (
    "gen2 region= runtime= entry-point= source= trigger-http no-allow-unauthenticated service-account= build-service-account= "
    "docker-repository= memory= cpu= concurrency= timeout= max-instances= ingress-settings= set-build-env-vars= set-env-vars="
)
_JOB = (
    "location= schedule= time-zone= uri= http-method= message-body= oidc-service-account-email= oidc-token-audience= "
    "attempt-deadline= max-retry-attempts="
)
FORMS = {
    "services enable": Form(_api, names=None),
    "iam service-accounts create": Form(_account, takes="display-name="),
    "iam roles create": Form(_role, "project= permissions=", "title="),
    "iam roles update": Form(_role, "project= permissions="),
    "iam roles undelete": Form(_nothing, "project="),
    "artifacts repositories create": Form(_repository, "location= repository-format="),
    "artifacts repositories set-cleanup-policies": Form(_clean_up, "location= policy="),
    "projects add-iam-policy-binding": Form(_grant, f"{_TO} condition="),
    "iam service-accounts add-iam-policy-binding": Form(_grant, _TO),
    "storage buckets add-iam-policy-binding": Form(_grant, _TO),
    "tasks queues add-iam-policy-binding": Form(_grant, f"{_TO} location="),
    "run services add-iam-policy-binding": Form(_grant, f"{_TO} region="),
    "artifacts repositories add-iam-policy-binding": Form(_grant, f"{_TO} location="),
    "functions deploy": Form(_function, _FUNCTION),
    "tasks queues create": Form(_queue, _LIMITS, "max-doublings= max-dispatches-per-second="),
    "tasks queues update": Form(_queue, _LIMITS, "max-doublings= max-dispatches-per-second="),
    "storage buckets create": Form(_bucket, "location=", "uniform-bucket-level-access public-access-prevention soft-delete-duration="),
    "storage buckets update": Form(_bucket, "lifecycle-file=", "versioning"),
    "firestore databases create": Form(_database, "database= location= type=", "enable-pitr delete-protection", names=0),
    "firestore indexes composite create": Form(_index, "database= collection-group= query-scope= field-config=", "async", names=0),
    "firestore fields ttls update": Form(_expiry, "database= collection-group= enable-ttl", "async"),
    "scheduler jobs create http": Form(_job, f"{_JOB} headers="),
    "scheduler jobs update http": Form(_job, f"{_JOB} update-headers="),
    "logging sinks update": Form(_exclusion, takes="add-exclusion= update-exclusion="),
}  # fmt: skip
"""The first words of a command that changes something, and how it is read."""

REPEATED = {"--field-config="}
READING = (
    "projects describe",
    "iam service-accounts describe",
    "iam roles describe",
    "artifacts repositories describe",
    "firestore databases describe",
    "storage buckets describe",
    "tasks queues describe",
    "scheduler jobs describe",
    "logging sinks describe",
)
"""The first words of a command that changes nothing."""
