"""The audit never passes without having asked; the bill of materials holds every runtime pin."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra import supply_chain


def test_every_pin_has_a_hash() -> None:
    for file in supply_chain.PINS:
        entries = file.read_text().replace("\\\n", " ").splitlines()
        assert [
            line for line in entries if "==" in line and not line.lstrip().startswith("#") and "--hash=" not in line
        ] == []


def test_an_audit_that_cannot_ask_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    pins = tmp_path / "requirements.txt"
    pins.write_text(f"attrs==1.0.0 --hash=sha256:{'0' * 64}\n")
    problems = supply_chain.audit([pins])
    assert problems
    assert "could not be asked" in problems[0] or "not asked about" in problems[0]


def test_the_bill_of_materials_holds_every_runtime_pin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supply_chain, "BUILD", tmp_path)
    found = json.loads(supply_chain.sbom().read_text())
    names = {supply_chain._normal(item["name"]) for item in found["components"]}
    assert names == set(supply_chain.pinned(supply_chain.PINS[:1]))
    assert found["bomFormat"] == "CycloneDX"


def test_every_runtime_package_names_a_licence() -> None:
    assert [name for name, text in supply_chain.licences().items() if not text] == []


ANSWER = """
import json
found = [{"name": "msgspec", "version": "1", "vulns": []}, {"name": "Flask", "skip_reason": "not found on PyPI"}]
print(json.dumps({"dependencies": found}))
"""


def test_an_audit_that_asked_about_some_pins_only_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that the service skipped was not asked about, nor one of which it says nothing; pip-audit itself ends well."""
    (tmp_path / "pip_audit.py").write_text(ANSWER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    pins = tmp_path / "requirements.txt"
    pins.write_text("msgspec==1.0\nflask==2.0\npyarrow==3.0\nno-such-package==4.0\n")
    assert supply_chain.audit([pins]) == ["flask 2.0 was not asked about", "pyarrow 3.0 was not asked about"]
