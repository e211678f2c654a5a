"""Secrets of the tests are canaries: one in what a passing test printed, or in a file that the run left, makes the run fail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from _pytest.capture import CaptureResult

from tests.canaries import left_in, shown_in

LEFT = pytest.StashKey[list[str]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report: pytest.TestReport = yield  # type: ignore[misc]  # pluggy sends the report in
    if report.passed:
        leaked = shown_in(report.capstdout + report.capstderr)
        if leaked:
            report.outcome = "failed"
            report.longrepr = f"{', '.join(leaked)} in what {item.nodeid} printed: a secret reached the log"
    return report  # type: ignore[return-value]


@pytest.fixture
def capsys(capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> pytest.CaptureFixture[str]:
    """What a test takes out of the output is searched as what it leaves there: it comes back into the report."""
    inner = capsys.readouterr

    def readouterr() -> CaptureResult[str]:
        taken = inner()
        request.node.add_report_section("call", "stdout taken", taken.out + taken.err)
        return taken

    capsys.readouterr = readouterr  # type: ignore[method-assign]
    return capsys


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Search what all tests left; with xdist once, where the workers' folders lie below this process's own."""
    if hasattr(session.config, "workerinput"):
        return
    factory: pytest.TempPathFactory = session.config._tmp_path_factory  # type: ignore[attr-defined]  # no other way to it
    if getattr(factory, "_basetemp", None) is None:
        return  # no test took a folder
    session.config.stash[LEFT] = left_in(factory.getbasetemp())
    if session.config.stash[LEFT] and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(LEFT, []):
        terminalreporter.write_line(f"FAILED: the run left a secret: {line}", red=True)
