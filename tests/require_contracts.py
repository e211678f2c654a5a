"""A pytest plugin for .ci/run: a skipped `contract` test fails the run where the vendors' contracts are there to be read."""

from __future__ import annotations

from pathlib import Path

import pytest

SPECS = Path(__file__).resolve().parents[2] / "shared" / "vendors" / "specs"
_skipped: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note a contract test that was skipped."""
    if report.skipped and "contract" in report.keywords:
        _skipped.append(report.nodeid)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Note a module of contract tests that was skipped as a whole: its tests never get a report."""
    if report.skipped and ("contract" in report.nodeid or "contract" in str(report.longrepr)):
        _skipped.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Turn a pass into a failure."""
    if SPECS.is_dir() and _skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why."""
    if SPECS.is_dir():
        for nodeid in _skipped:
            terminalreporter.write_line(f"CONTRACT SKIPPED although {SPECS.name} is there: {nodeid}", red=True)
