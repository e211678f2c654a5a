"""The validated run: once a module, on the real sandboxes and Postgres."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from infra.local.accounts import load_accounts
from infra.local.ports import Ports, free_base
from infra.local.postgres import EmbeddedPostgres
from infra.local.sandboxes.server import SandboxServer, inherited_variables
from tests.conformance.contracts import our_journeys, stranger_journeys
from tests.conformance.contracts.recorder import Recorder
from tests.conformance.storage_process import running_storage


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorder]:
    """Everything that our connectors and strangers' clients sent, and what was answered."""
    data = tmp_path_factory.mktemp("contracts")
    base = free_base(28000)
    warehouse = load_accounts(data, base).warehouse
    with (
        EmbeddedPostgres(data / "postgres", base + 15, warehouse),
        running_storage(data, Ports(base), "frozen"),
        SandboxServer(data) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name in inherited_variables():
            patch.delenv(name)
        for name, value in server.environment().items():
            patch.setenv(name, value)
        patch.setenv("STORAGE_EMULATOR_HOST", Ports(base).url("gcs"))
        made = Recorder(server)
        run(made)
        yield made


def run(made: Recorder) -> None:
    """All phases, in an order that lets the sandbox clock go forward."""
    for kind in ("google_sheets", "google_sheets_refused", "power_bi", "power_bi_refused", "looker", "looker_refused"):
        with made.phase(f"our {kind}", is_ours=True):
            getattr(our_journeys, kind)(made)
        made.server.clock.advance(3700)
    with made.phase("our bigquery", is_ours=True):
        our_journeys.bigquery(made)
    with made.phase("our signing", is_ours=True):
        our_journeys.signing(made)
    for kind in ("sheets", "looker", "power_bi"):
        with made.phase(f"strangers' {kind}", is_ours=False):
            getattr(stranger_journeys, kind)(made)
        made.server.clock.advance(61)
