"""The live Power BI connector."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from shared.connectors._base import Check, Delivery, DeliveryPlan, Runtime, VendorRefresh
from shared.connectors._checks import run_checks
from shared.connectors.power_bi import KIND, Config
from shared.connectors.power_bi.client import Session, segment
from shared.connectors.power_bi.dataset import PushTable, Workspace, values_of
from shared.connectors.power_bi.refresh import Model
from shared.errors import CredentialError, TargetError, UnsupportedError

Json = Any


class PowerBIConnector:
    """Writes push datasets and refreshes models of one workspace as one service principal. One per thread."""

    kind: ClassVar[str] = KIND

    def __init__(self, config: Config, secrets: Mapping[str, Any], runtime: Runtime) -> None:
        """Keep what is needed; no call is made. `secrets` holds `client_secret`.

        Raises:
            CredentialError: the secret is missing.
        """
        secret = secrets.get("client_secret")
        if not secret:
            raise CredentialError("The connector has no client_secret; register it again with one")
        self._config = config
        self._session = Session(config.tenant_id, config.client_id, str(secret), runtime.clock, runtime.quota)
        self._workspace = Workspace(self._session, config.workspace_id, runtime.clock)

    def test(self) -> list[Check]:
        """Sign in, then look, read-only, at all that exports and refreshes need."""
        steps = [
            ("sign_in", self._check_sign_in),
            ("workspace", self._check_workspace),
            ("datasets", self._check_datasets),
            ("push_target", self._check_push_target),
        ]
        if self._config.dataset_id:
            steps.append(("sequence_numbers", self._check_sequence_numbers))
        if self._config.refresh_dataset_id:
            steps.append(("refresh_model", self._check_refresh_model))
        return run_checks(steps)

    def open_delivery(self, plan: DeliveryPlan) -> Delivery:
        """One job's delivery; no call is made."""
        from shared.connectors.power_bi.delivery import PushDelivery

        return PushDelivery(self._workspace, self._config.client_id, self._config.dataset_id, plan)

    def push_table(self, dataset_id: str, table: str) -> PushTable:
        """A table to count, query and read, e.g. `push_table(d, t).read_rows(columns)`; no call is made."""
        return PushTable(self._workspace, dataset_id, table)

    def start_refresh(self, run_id: str, options: Mapping[str, Json]) -> VendorRefresh:  # noqa: ARG002  # contract; the vendor takes no id of ours
        """Trigger a refresh of `refresh_dataset_id`: standard, or enhanced if `options` are given. See `refresh.Model.start`."""
        return self._model().start(options)

    def find_refresh(self, run_id: str, options: Mapping[str, Json], since: datetime) -> VendorRefresh | None:  # noqa: ARG002  # contract; see start_refresh
        """The refresh of that kind which began after `since`, the earliest if there are several; it may have ended."""
        return self._model().find(options, since)

    def poll_refresh(self, vendor_id: str) -> VendorRefresh:
        """How that very refresh stands."""
        return self._model().poll(vendor_id)

    def cancel_refresh(self, vendor_id: str) -> None:
        """Stop an enhanced refresh."""
        self._model().cancel(vendor_id)

    def _model(self) -> Model:
        if not self._config.refresh_dataset_id:
            raise UnsupportedError(
                "This connector has no refresh_dataset_id, so there is nothing to refresh: a push dataset needs none. "
                "Register the import or Direct Lake model that is to be refreshed"
            )
        return Model(self._workspace, self._config.refresh_dataset_id)

    def _check_sign_in(self) -> str:
        self._session.sign_in()
        return f"Entra ID signed in client {self._config.client_id}"

    def _check_workspace(self) -> str:
        found = self._session.call(
            "GET", f"groups/{segment(self._workspace.id)}", f"reading workspace {self._workspace.id}"
        )
        workspace = found.json()
        if workspace.get("isReadOnly"):
            raise TargetError(
                f"Workspace {workspace.get('name')!r} is read-only for this principal; make it a Contributor"
            )
        return f"workspace {workspace.get('name')!r} is reachable"

    def _check_datasets(self) -> str:
        return f"{len(self._workspace.datasets())} datasets can be listed"

    def _check_push_target(self) -> str:
        if not self._config.dataset_id:
            return "no dataset_id: a push dataset is created for each table on its first export"
        found = self._workspace.dataset(self._config.dataset_id)
        if found is None:
            raise TargetError(f"dataset_id {self._config.dataset_id} is not in the workspace; correct it")
        if found.get("addRowsAPIEnabled") is not True:
            raise TargetError(f"dataset {found.get('name')!r} is not a push dataset; rows cannot be added to it")
        return f"push dataset {found.get('name')!r} takes rows"

    def _check_sequence_numbers(self) -> str:
        dataset_id = str(self._config.dataset_id)
        tables = values_of(
            self._workspace.safe("GET", f"datasets/{segment(dataset_id)}/tables", f"listing tables of {dataset_id}")
        )
        for table in tables[:1]:
            if self.push_table(dataset_id, str(table["name"])).sequence_number(self._config.client_id) is None:
                return "Power BI keeps no sequence numbers here: replace works, append needs delivery: at_least_once"
        return "sequence numbers can be read: appends are exact"

    def _check_refresh_model(self) -> str:
        model_id = str(self._config.refresh_dataset_id)
        found = self._workspace.dataset(model_id)
        if found is None:
            raise TargetError(f"refresh_dataset_id {model_id} is not in the workspace; correct it")
        if found.get("addRowsAPIEnabled") is True:
            raise TargetError(
                f"refresh_dataset_id names the push dataset {found.get('name')!r}, which cannot be refreshed; "
                "name an import or Direct Lake model, or leave it out"
            )
        if found.get("isRefreshable") is False:
            raise TargetError(f"dataset {found.get('name')!r} says that it is not refreshable")
        Model(self._workspace, model_id).history("1")
        return f"model {found.get('name')!r} can be refreshed"
