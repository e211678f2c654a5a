"""Secrets of the tests are canaries: one in what a passing test printed, log lines above all, makes it fail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

CANARIES = ("s3cret-value-of-the-app", "canary-of-the-key-file", "canary-of-looker", "canary-of-the-warehouse",
            "canary-of-a-channel", "canary-of-slack")  # fmt: skip
"""Values that test bodies send as credentials; the local cloud's own are looked for by `tests/e2e/test_secrets.py`."""


def found_in(text: str) -> list[str]:
    """Return the canaries in a text."""
    return [canary for canary in CANARIES if canary in text]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report: pytest.TestReport = yield  # type: ignore[misc]  # pluggy sends the report in
    if report.passed and "plants_a_canary" not in item.keywords:
        leaked = found_in(report.capstdout + report.capstderr)
        if leaked:
            report.outcome = "failed"
            report.longrepr = f"{', '.join(leaked)} in what {item.nodeid} printed: a secret reached the log"
    return report  # type: ignore[return-value]
