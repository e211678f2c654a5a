"""Running sandboxes for a test module, and the environment that leads unmodified clients to them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from infra.local.sandboxes.server import SandboxServer, inherited_variables


@pytest.fixture(scope="module")
def sandboxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    """All sandboxes, in this process, on free ports, in a data folder of this module's own."""
    with SandboxServer(tmp_path_factory.mktemp("sandboxes")) as server:
        yield server


@pytest.fixture
def vendors(sandboxes: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[SandboxServer]:
    """The sandboxes with HTTPS_PROXY and the CA set for this test; afterwards faults and knobs are as at the start.

    A module whose tests all talk to vendors says `pytestmark = pytest.mark.usefixtures("vendors")`.
    """
    for name in inherited_variables():
        monkeypatch.delenv(name)
    for name, value in sandboxes.environment().items():
        monkeypatch.setenv(name, value)
    yield sandboxes
    sandboxes.reset()
