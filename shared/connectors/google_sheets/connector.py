"""The live Google Sheets connector. API: developers.google.com/workspace/sheets/api/reference/rest"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, NoReturn

from shared.connectors._base import Check, Delivery, DeliveryPlan, Json, Runtime
from shared.connectors._checks import run_checks
from shared.connectors.google_sheets import KIND, Config
from shared.connectors.google_sheets.account import credentials_of
from shared.connectors.google_sheets.client import SheetsClient
from shared.connectors.google_sheets.layout import FIELDS, MAX_CELLS, Workbook
from shared.errors import CredentialError, UnsupportedError


class GoogleSheetsConnector:
    """Writes worksheets of one spreadsheet; a sheet has nothing to refresh.

    One object serves one thread: its deliveries share a session and an access token.
    """

    kind: ClassVar[str] = KIND

    def __init__(self, config: Config, secrets: Mapping[str, Any], runtime: Runtime) -> None:
        self._key = secrets.get("service_account_key") or config.service_account_key
        self._clock = runtime.clock
        self._client = SheetsClient(config.spreadsheet_id, self._key or {}, runtime.clock, runtime.quota)

    def test(self) -> list[Check]:
        """Five steps, five calls at most.

        Google offers no read-only question about the right to edit without the Drive API, so `edit` writes: it sets the
        spreadsheet's recalculation setting to the value it has, which changes nothing.
        """
        client = self._client
        seen: list[Workbook] = []

        def credential() -> str:
            return f"a service account's key: {credentials_of(self._present_key()).service_account_email}"

        def token() -> str:
            client.fetch_token()
            return "Google issued an access token"

        def spreadsheet() -> str:
            seen.append(Workbook.parse(client.get(FIELDS)))
            return f"opened {seen[0].title!r} with {len(seen[0].tabs)} tabs"

        def edit() -> str:
            same = {"properties": {"autoRecalc": seen[0].auto_recalc}, "fields": "autoRecalc"}
            client.batch_update([{"updateSpreadsheetProperties": same}], "trying to edit")
            return f"{client.account} may edit (tried with a change that changes nothing)"

        def room() -> str:
            left = MAX_CELLS - seen[0].cells
            stale = sum(tab.staging is not None for tab in seen[0].tabs)
            staged = f"; {stale} staging tabs of unfinished exports" if stale else ""
            return f"{left:,} of {MAX_CELLS:,} cells left; an export needs about twice its size while it runs{staged}"

        steps = (credential, token, spreadsheet, edit, room)
        return run_checks([(step.__name__, step) for step in steps])

    def open_delivery(self, plan: DeliveryPlan) -> Delivery:
        """No call is made yet."""
        from shared.connectors.google_sheets.delivery import SheetsDelivery

        return SheetsDelivery(self._client, plan, self._clock)

    def start_refresh(self, run_id: str, options: Mapping[str, Json]) -> NoReturn:  # noqa: ARG002 - the contract's signature
        """Always raises `UnsupportedError`."""
        raise _nothing_to_refresh()

    def find_refresh(self, run_id: str, options: Mapping[str, Json], since: datetime) -> NoReturn:  # noqa: ARG002 - the contract's signature
        """Always raises `UnsupportedError`."""
        raise _nothing_to_refresh()

    def poll_refresh(self, vendor_id: str) -> NoReturn:  # noqa: ARG002 - the contract's signature
        """Always raises `UnsupportedError`."""
        raise _nothing_to_refresh()

    def cancel_refresh(self, vendor_id: str) -> NoReturn:  # noqa: ARG002 - the contract's signature
        """Always raises `UnsupportedError`."""
        raise _nothing_to_refresh()

    def _present_key(self) -> Mapping[str, Any] | str:
        if not self._key:
            raise CredentialError("service_account_key is missing; register the connector again with the JSON key")
        return self._key


def _nothing_to_refresh() -> UnsupportedError:
    return UnsupportedError(
        "Google Sheets computes nothing on demand, so there is nothing to refresh; "
        "use a schedule with the action export_and_refresh, which exports the table again"
    )
