"""What a deployment is described with is refused where it could only fail later, or mean something else than was meant."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from infra.check.terraform import ROOT

TEXT = (ROOT / "infra" / "terraform" / "variables.tf").read_text()


def condition(name: str) -> str:
    """Return what Terraform holds the variable to, as it is written."""
    block = TEXT.partition(f'variable "{name}" {{\n')[2].partition("\n}\n")[0]
    (found,) = re.findall(r"^    condition     = (.*)$", block, re.MULTILINE)
    return str(found)


@pytest.mark.parametrize("name", ["admins", "operators", "viewers", "notify"])
@pytest.mark.parametrize(
    ("address", "taken"),
    [
        ("ada@example.org", True),
        ("robot@p.iam.gserviceaccount.com", True),
        ("user:ada@example.org", False),
        ("ada@example.org, bo@example.org", False),
        ("ada", False),
        ("@example.org", False),
    ],
)
def test_people_are_plain_addresses(name: str, address: str, taken: bool) -> None:
    (pattern,) = re.findall(rf'for address in var\.{name} : can\(regex\("(.*)", address\)\)', condition(name))
    assert (re.search(pattern, address) is not None) is taken


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("audit_retention_days", 1, True),
        ("audit_retention_days", 36500, True),
        ("audit_retention_days", 0, False),
        ("audit_retention_days", 36501, False),
        ("audit_retention_days", 1.5, False),
        ("rows_retention_days", 9, True),
        ("rows_retention_days", 90, True),
        ("rows_retention_days", 8, False),
        ("rows_retention_days", 91, False),
        ("rows_retention_days", 9.5, False),
        ("monthly_budget", 1, True),
        ("monthly_budget", 0, False),
        ("monthly_budget", 49.5, False),
    ],
)
def test_numbers_are_whole_and_in_bounds(name: str, value: float, taken: bool) -> None:
    """The condition is of comparisons alone, which mean the same in Python."""
    written = condition(name).replace(f"var.{name}", "value").replace("&&", "and")
    assert eval(written, {"value": value, "floor": math.floor, "__builtins__": {}}) is taken


def test_no_setting_is_taken_that_the_configuration_sets_itself() -> None:
    """`merge` would let ours stand, and say nothing."""
    terraform = {path.name: path.read_text() for path in (ROOT / "infra" / "terraform").glob("*.tf")}
    ours = {
        name
        for block in (
            terraform["functions.tf"].partition("\nlocals {")[2],
            *re.findall("settings = {.*?}", terraform["locals.tf"]),
        )
        for name in re.findall(r"\b([A-Z][A-Z_]+) *= ", block)
    } | {*re.findall(r"\{ ([A-Z][A-Z_]+) = tostring", terraform["functions.tf"])}
    assert ours > {"CLOUD_RUN_CHECKS_CALLERS", "EXPORT_ROLE", "FROZEN_BUCKET", "THREADS", "TRACE_EXPORT_URL"}
    block = TEXT.partition('variable "settings" {\n')[2].partition("\n}\n")[0]
    refused = {
        name
        for names in re.findall(r"keys\(var\.settings\), \[(.*?)\]", block)
        for name in re.findall(r'"(\w+)"', names)
    }
    assert refused | {"TRACE_EXPORT_URL"} == ours | {"ENVIRONMENT"}
    assert '!(var.trace_export && contains(keys(var.settings), "TRACE_EXPORT_URL"))' in block


FOLDERS = (ROOT / "infra" / "terraform", ROOT / "infra" / "terraform" / "bootstrap")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_variable_is_held_to_something_and_seen_to_refuse(folder: Path) -> None:
    """`make infra-check` runs the refusals by `terraform test`."""
    text = "\n".join(path.read_text() for path in folder.glob("*.tf"))
    blocks = dict(re.findall(r'^variable "(\w+)" \{\n(.*?)^\}', text, re.MULTILINE | re.DOTALL))
    free = {name for name, block in blocks.items() if "  type        = bool\n" in block}
    assert {name for name, block in blocks.items() if "  validation {\n" not in block} == free
    tests = "\n".join(path.read_text() for path in (folder / "tests").glob("*.tftest.hcl"))
    refused = {
        name for names in re.findall(r"expect_failures = \[(.*?)\]", tests) for name in re.findall(r"var\.(\w+)", names)
    }
    assert refused == blocks.keys() - free
