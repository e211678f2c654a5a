"""The rights that a deployment needs: those of access.json, which an end-to-end run holds to its calls; callers by the route table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from infra.check.outcome import Right
from infra.check.terraform import ROOT

ACCESS = ROOT / "infra" / "terraform" / "access.json"
ROUTES = ROOT / "build" / "routes.json"
OF_PEOPLE = {"viewer", "operator", "admin"}


@dataclass(frozen=True)
class Deployment:
    """What is asked for: an environment of a project, and its options. `people` are IAM members."""

    project: str
    number: str
    prefix: str
    region: str
    people: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    buckets: tuple[str, ...] = ()
    traces: bool = False

    def account(self, name: str) -> str:
        return f"{self.prefix}-{name}@{self.project}.iam.gserviceaccount.com"

    def member(self, name: str) -> str:
        return f"serviceAccount:{self.account(name)}"

    def bucket(self, name: str) -> str:
        return f"{self.project}-{self.prefix}-{name}"


def asked_of(variables: Mapping[str, Any]) -> Deployment:
    """Return what a plan's variables ask for."""
    said = {name: one["value"] for name, one in variables.items()}
    names = [*said["admins"], *said["operators"], *said["viewers"]]
    people = [f"{'serviceAccount' if one.endswith('.gserviceaccount.com') else 'user'}:{one}" for one in names]
    return Deployment(
        project=said["project_id"],
        number=said["project_number"],
        prefix=said["prefix"],
        region=said["region"],
        people=(*said["invokers"], *people),
        datasets=tuple(said["source_datasets"]),
        buckets=tuple(said["source_buckets"]),
        traces=said["trace_export"],
    )


def of_functions(asked: Deployment) -> set[Right]:
    """What access.json gives to each function's service account."""
    roles: dict[str, Any] = json.loads(ACCESS.read_text(encoding="utf-8"))
    return {
        Right(asked.member(function), permission, condition, on)
        for role in roles.values()
        for function, places in role["functions"].items()
        for permission in role["permissions"]
        for condition, on in _on(asked, role["scope"], places)
    }


def _on(asked: Deployment, scope: str, places: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Return the condition and the resource of each grant of a role."""
    project = f"project {asked.project}"
    match scope:
        case "database":
            yield f'resource.name=="projects/{asked.project}/databases/{asked.prefix}-connectors"', project
        case "secrets":
            yield f'resource.name.startsWith("projects/{asked.number}/secrets/{asked.prefix}-")', project
        case "project":
            yield "", project
        case "queries" if asked.datasets:
            yield "", project
        case "traces" if asked.traces:
            yield "", project
        case "datasets":
            yield from (("", f"dataset {name}") for name in asked.datasets)
        case "queue":
            yield from (("", f"queue {asked.region}/{asked.prefix}-{place}") for place in places)
        case "account":
            yield from (("", f"account {asked.account(place)}") for place in places)
        case "bucket":
            yield from (("", f"bucket {asked.bucket(place)}") for place in places)
            if "tables" in places:  # what exports may read instead
                yield from (("", f"bucket {name}") for name in asked.buckets)


def of_callers(asked: Deployment) -> set[Right]:
    """Who may call which function: people its public routes, Cloud Tasks and Cloud Scheduler the internal ones."""
    found = set()
    for route in json.loads(ROUTES.read_text(encoding="utf-8")):
        service = f"service {asked.region}/{asked.prefix}-{route['function'].replace('_', '-')}"
        if route["function"] != "*":
            members = asked.people if route["permission"] in OF_PEOPLE else ()
            if route["permission"] in ("tasks", "scheduler"):
                members = (asked.member(route["permission"]),)
            found |= {Right(member, "roles/run.invoker", "", service) for member in members}
    return found


def of_build_and_audit(asked: Deployment) -> set[Right]:
    """The build writes logs and images and reads the sources that it is given; the sink adds to the audit bucket."""
    place = f"projects/{asked.project}/locations/{asked.region}/repositories/{asked.prefix}-functions"
    buckets = f"gcf-v2-sources-{asked.number}-", asked.bucket("source")
    sources = " || ".join(f'resource.name.startsWith("projects/_/buckets/{name}")' for name in buckets)
    project, build = f"project {asked.project}", asked.member("build")
    return {
        Right(build, "roles/logging.logWriter", "", project),
        Right(build, "roles/artifactregistry.writer", "", f"repository {place}"),
        Right(build, "roles/storage.objectViewer", sources, project),
        Right(f"serviceAccount:writer-of-{asked.prefix}-audit", "roles/storage.objectCreator", "", f"bucket {asked.bucket('audit')}"),
    }  # fmt: skip
