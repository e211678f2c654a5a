"""`make campaign PART=api`: generated requests against the functions' own API descriptions, over HTTP.

Schemathesis makes them from each document: examples, every boundary and malformed form, random ones, and chains that follow the
links. No answer may be a server error, have a status that is not described, or a body or header of another form.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from infra.local.ports import free_base
from infra.local.supervisor import LocalCloud
from tests.campaigns.report import Report
from tests.canaries import left_in

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
)
CONFIG = "[generation]\nwith-security-parameters = false\n"  # else each request carries a made-up token, and is refused
PROGRAM = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"]
TIMEOUT_S = 3600.0
PHASES, SAMPLE = "examples,coverage,fuzzing,stateful", "examples,fuzzing,stateful"


@dataclass
class Outcome:
    """What one run of Schemathesis came to: test cases, operations tested, what failed in words."""

    cases: int = 0
    operations: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        self.cases += other.cases
        self.operations = max(self.operations, other.operations)
        self.failures += other.failures


def throw(url: str, *, examples: int, seed: int, phases: str = PHASES) -> Outcome:
    """Run Schemathesis once over the document at `url`/openapi.json."""
    with tempfile.TemporaryDirectory() as folder:
        config, report = Path(folder) / "schemathesis.toml", Path(folder) / "report.json"
        config.write_text(CONFIG)
        command = [
            *PROGRAM, "--config-file", str(config), "run", f"{url}/openapi.json",
            "--checks", ",".join(CHECKS), "--phases", phases, "--max-examples", str(examples), "--seed", str(seed),
            "--continue-on-failure", "--no-color", "--report", "json", "--report-json-path", str(report),
            "--request-timeout", "60", "--suppress-health-check", "all",
        ]  # fmt: skip
        same = {**os.environ, "PYTHONHASHSEED": "0"}  # the order of sets: with it, a seed throws the same every time
        done = subprocess.run(
            command, cwd=folder, env=same, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        if not report.exists():
            return Outcome(
                failures=[f"schemathesis ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}"]
            )
        found = json.loads(report.read_text())
    failures = [json.dumps(item)[:3000] for item in (*found["failures"], *found["errors"])]
    if done.returncode != 0:
        failures.append(done.stdout.partition("= FAILURES =")[2][:20000] or done.stdout[-2000:])
    return Outcome(found["test_cases"]["generated"], found["operations"]["tested"], failures)


def run(report: Report, *, cases: int, seed: int, is_sample: bool = False) -> None:
    """Throw at least so many cases at a local cloud: the gateway's merged document and each function's own, in turns.

    A sample takes the merged one alone, without every boundary: those are ten thousand cases by themselves.
    """
    examples, phases = (14, SAMPLE) if is_sample else (40, PHASES)
    report.say("\napi: generated requests by the API descriptions")
    total, round_ = Outcome(), 0
    with local_cloud() as urls:
        while total.cases < cases and not total.failures:
            for url in urls[:1] if is_sample else urls:
                total.add(throw(url, examples=examples, seed=seed + round_, phases=phases))
            round_ += 1
            report.say(f"  {total.cases} cases, {len(total.failures)} failures")
    for failure in total.failures:
        report.failed(f"make campaign PART=api SEED={seed + round_ - 1}", [failure], [])
    report.count("api", total.cases, failures=len(total.failures))


@contextmanager
def local_cloud() -> Iterator[list[str]]:
    """Yield the URLs of a running local cloud: its gateway, then its functions."""
    os.environ["MAX_WAIT_S"] = "0.2"
    with tempfile.TemporaryDirectory() as folder:
        cloud = LocalCloud(Path(folder), free_base())
        cloud.start()
        try:
            functions = cloud.endpoints["functions"]
            yield [cloud.endpoints["gateway"], *(functions[name] for name in ("register", "export", "refresh"))]
            if left := left_in(Path(folder)):
                raise RuntimeError(f"the campaign left a secret: {left[0]}")
        finally:
            cloud.stop()
            del os.environ["MAX_WAIT_S"]
