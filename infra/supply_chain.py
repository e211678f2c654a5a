"""`make audit`, `make sbom`, `make licences`: what the pinned packages are, and whether holes in them are known.

An audit that could not ask the advisory service is not a clean one: it fails, and says so.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PINS = (ROOT / "requirements.txt", ROOT / "tests" / "requirements.txt")
BUILD = ROOT / "build"
TIMEOUT_S = 900.0


def pinned(files: Iterable[Path]) -> dict[str, str]:
    """Return the version of every package that the files pin, by normalised name."""
    lines = (line for file in files for line in file.read_text().splitlines())
    found = (re.match(r"^([A-Za-z0-9._-]+)==([^ ;\\\\]+)", line) for line in lines)
    return {_normal(match[1]): match[2] for match in found if match}


def audit(files: Iterable[Path] = PINS) -> list[str]:
    """Return what is wrong, in words: known holes, packages that were not asked about, or that nobody could be asked."""
    command = [sys.executable, "-m", "pip_audit", "--strict", "--disable-pip", "--require-hashes", "-f", "json"]
    for file in files:
        command += ["-r", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    try:
        asked = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return [f"the advisory service could not be asked (pip-audit ended with {done.returncode}): {last[:300]}"]
    answered = {_normal(item["name"]) for item in asked if "vulns" in item}  # one that was skipped has none
    problems = [
        f"{name} {version} was not asked about"
        for name, version in sorted(_here(files).items())
        if name not in answered
    ]
    problems += [
        f"{item['name']} {item['version']}: {hole['id']}, fixed in {', '.join(hole['fix_versions']) or 'no release'}"
        for item in asked
        for hole in item.get("vulns", ())
    ]
    if done.returncode != 0 and not problems:
        problems = [f"pip-audit ended with {done.returncode}: {done.stderr.strip()[-300:]}"]
    return problems


def sbom() -> Path:
    """Write the CycloneDX bill of materials of the runtime pins; return its path."""
    BUILD.mkdir(exist_ok=True)
    path = BUILD / "sbom.json"
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", str(PINS[0]), "--of", "JSON", "-o", str(path)]
    subprocess.run(command, check=True, timeout=TIMEOUT_S)
    return path


def licences() -> dict[str, str]:
    """Return the licence of every installed runtime package by name; empty where its metadata name none."""
    return {name: _licence(name) for name in sorted(_here(PINS[:1]))}


def _here(files: Iterable[Path]) -> dict[str, str]:
    """Return the pins that apply to this machine: those that are installed."""
    installed = {_normal(item.metadata["Name"]) for item in metadata.distributions()}
    return {name: version for name, version in pinned(files).items() if name in installed}


def _licence(name: str) -> str:
    about = metadata.metadata(name)
    trove = [line.rpartition(" :: ")[2] for line in about.get_all("Classifier") or () if line.startswith("License ::")]
    stated = about.get("License-Expression") or ", ".join(trove) or (about.get("License") or "").strip()
    return stated.splitlines()[0][:80] if stated else ""


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    """Do what is asked; return 1 if the audit found or could not ask something, or a package names no licence."""
    parser = argparse.ArgumentParser(prog="make")
    parser.add_argument("what", choices=("audit", "sbom", "licences"))
    what = parser.parse_args().what
    if what == "audit":
        problems = audit()
        sys.stdout.write("\n".join(problems or [f"no known holes in {len(_here(PINS))} packages"]) + "\n")
        return 1 if problems else 0
    if what == "sbom":
        sys.stdout.write(f"{sbom().relative_to(ROOT)}\n")
        return 0
    found = licences()
    sys.stdout.write("\n".join(f"{name:<32} {text or 'names no licence'}" for name, text in found.items()) + "\n")
    return 0 if all(found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
