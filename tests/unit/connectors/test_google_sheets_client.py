"""What stands in the addresses that are called."""

from __future__ import annotations

import pytest

from shared.connectors.google_sheets.client import SheetsClient
from shared.errors import TargetError
from tests.fakes.stores import FakeClock


@pytest.mark.parametrize("spreadsheet_id", ["", "..", "a/b", "../x", "a?b", "a:batchUpdate", "%2e%2e"])
def test_an_id_that_would_make_another_address_is_refused_before_any_call(spreadsheet_id: str) -> None:
    client = SheetsClient(spreadsheet_id, {}, FakeClock())
    with pytest.raises(TargetError, match="spreadsheet_id"):
        client.call("reading", lambda _: None)
