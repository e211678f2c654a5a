"""Policies on the whole outcome: who is granted what, and that both ways of deploying leave the same. One comparison, not one a mistake."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from infra.check.needs import asked_of, of_build_and_audit, of_callers, of_functions
from infra.check.outcome import Outcome, Right
from infra.check.plan import Plan, Violations
from infra.check.planned import outcome_of_plan
from infra.check.scripted import outcome_of_script


def rights_are_those_needed(plan: Plan) -> Violations:
    """Every right in the plan is one that calls need, and every one that they need is there: by member, condition and resource."""
    asked, planned = asked_of(plan.variables), outcome_of_plan(plan)
    needed = of_functions(asked) | of_callers(asked) | of_build_and_audit(asked)
    yield from planned.unread
    yield from (f"nothing needs that {_told(right)}" for right in sorted(planned.rights - needed))
    yield from (f"it is not planned that {_told(right)}" for right in sorted(needed - planned.rights))


def both_ways_are_alike(plan: Plan) -> Violations:
    """Terraform's plan and infra/gcloud.sh leave the same things with the same settings, but for what `APART` names."""
    yield from differences(outcome_of_plan(plan), _scripted(), known_of(plan))


@functools.cache
def _scripted() -> Outcome:
    return outcome_of_script()


class Apart(NamedTuple):
    """A setting that differs by design; things by regular expression."""

    things: str
    setting: str
    planned: object
    scripted: object
    why: str


_PEOPLE = "the script knows one administrator"
_OPTION = "an option that example.tfvars turns on and the script does not have"
_NO_ORIGIN = "the script makes no load balancer"
_WITH_OPTIONS = (_PEOPLE, _OPTION, _NO_ORIGIN)
"""Reasons of differences that a plan without options must not show."""

_RATE = "the script leaves what Cloud Tasks takes by itself"
APART = (
    Apart("function bi-(register|export|refresh)", "ingress", "internal-and-gclb", "all", _NO_ORIGIN),
    Apart("function bi-register", "max_instances", "10", "20", "the script has one number for all"),
    Apart("function .*", "setting operators", ("bob@example.org",), (), _PEOPLE),
    Apart("function .*", "setting viewers", ("cleo@example.org",), (), _PEOPLE),
    Apart("function .*", "setting warehouse_hosts", ("10.0.0.5",), (), _OPTION),
    Apart("function .*", "setting trace_export_url", "https://telemetry.googleapis.com/v1/traces", None, _OPTION),
    Apart("queue bi-(export|refresh)", "max_dispatches_per_second", "50", None, _RATE),
    Apart("queue bi-notices", "max_dispatches_per_second", "20", None, _RATE),
    Apart("queue .*", "max_doublings", "6", None, _RATE),
    Apart("queue bi-refresh", "max_concurrent_dispatches", "50", "20", "the script has one number for all"),
)  # fmt: skip
"""Settings of example.tfvars and of the script's arguments in `gcloud.ARGUMENTS`."""

NOT_SCRIPTED = {
    "bucket example-project-bi-audit": "the script makes no audit sink",
    "bucket example-project-bi-source": "gcloud uploads sources by itself",
    "api monitoring.googleapis.com": "the script makes no monitoring",
    "api bigquery.googleapis.com": "the script has no BigQuery sources",
    "api telemetry.googleapis.com": _OPTION,
    "api cloudtrace.googleapis.com": _OPTION,
    "api vpcaccess.googleapis.com": _OPTION,
    "api compute.googleapis.com": _OPTION,
    "api billingbudgets.googleapis.com": _OPTION,
}
RIGHTS_NOT_SCRIPTED = {
    r"(group:|user:bob|user:cleo)\S+ roles/run.invoker .*": _PEOPLE,
    r"\S+ (bigquery\.\S+|telemetry\.traces\.write) .*": _OPTION,
    r"\S+ storage\.objects\.(get|list) .*bucket example-lake": _OPTION,
    r"serviceAccount:writer-of-bi-audit .*": "the script makes no audit sink",
    r"serviceAccount:bi-build@\S+ roles/storage.objectViewer .*bi-source.*": "gcloud uploads sources by itself",
}
"""Rights of the plan alone. `rights_are_those_needed` holds each to the need."""

RIGHTS_SCRIPTED = {
    Right(
        "serviceAccount:bi-build@example-project.iam.gserviceaccount.com",
        "roles/storage.objectViewer",
        'resource.name.startsWith("projects/_/buckets/gcf-v2-sources-123456789012-")',
        "project example-project",
    ): "the plan's names the bucket of sources, too"
}
"""Rights of the script alone."""


class Known(NamedTuple):
    """The differences by design that two outcomes may show, and must."""

    settings: tuple[Apart, ...] = APART
    planned: Mapping[str, str] = NOT_SCRIPTED
    rights: Mapping[str, str] = RIGHTS_NOT_SCRIPTED
    scripted: Mapping[Right, str] = RIGHTS_SCRIPTED


OPTIONS = (
    *("operators", "viewers", "invokers", "warehouse_hosts", "source_datasets", "source_buckets"),
    *("private_network", "domain", "billing_account", "trace_export"),
)
"""The variables that bring what the script does not have."""


def known_of(plan: Plan) -> Known:
    """All of them with the options of example.tfvars, fewer without any."""
    if any(plan.variables.get(name, {}).get("value") for name in OPTIONS):
        return Known()
    return Known(
        tuple(one for one in APART if one.why not in _WITH_OPTIONS),
        {name: why for name, why in NOT_SCRIPTED.items() if why not in _WITH_OPTIONS},
        {form: why for form, why in RIGHTS_NOT_SCRIPTED.items() if why not in _WITH_OPTIONS},
    )


ALL = Known()


def differences(planned: Outcome, scripted: Outcome, known: Known = ALL) -> Iterator[str]:
    """Yield what is not understood of the script, each difference that is not known, and each known one that there is no more."""
    yield from scripted.unread
    used: set[object] = set()
    for name in sorted({*planned.things, *scripted.things}):
        ours, theirs = planned.things.get(name), scripted.things.get(name)
        if theirs is None and name in known.planned:
            used.add(name)
        elif ours is None or theirs is None:
            yield f"only {'the script' if ours is None else 'Terraform'} makes {name}"
        else:
            yield from _settings_apart(name, ours, theirs, known, used)
    yield from _rights_apart(planned.rights, scripted.rights, known, used)
    for kind in known:
        yield from (f"{one} is no difference any more; take it out of sameness.py" for one in kind if one not in used)


def _settings_apart(
    name: str, ours: dict[str, Any], theirs: dict[str, Any], known: Known, used: set[object]
) -> Iterator[str]:
    for setting in sorted({*ours, *theirs}):
        pair = ours.get(setting), theirs.get(setting)
        if pair[0] == pair[1]:
            continue
        named = next((a for a in known.settings if a[1:4] == (setting, *pair) and re.fullmatch(a.things, name)), None)
        used.add(named)
        if named is None:
            yield f"{name}, {setting}: Terraform plans {_said(pair[0])}, the script {_said(pair[1])}"


def _rights_apart(ours: set[Right], theirs: set[Right], known: Known, used: set[object]) -> Iterator[str]:
    for right in sorted(ours - theirs):
        named = next((form for form in known.rights if re.fullmatch(form, " ".join(right))), None)
        used.add(named)
        if named is None:
            yield f"only Terraform grants that {_told(right)}"
    for right in sorted(theirs - ours):
        used.add(right)
        if right not in known.scripted:
            yield f"only the script grants that {_told(right)}"


def _told(right: Right) -> str:
    return f"{right.member} has {right.allows} on {right.on}{f' where {right.condition}' if right.condition else ''}"


def _said(value: object) -> str:
    return "nothing" if value is None else repr(value)
