"""What Looker recomputes from the warehouse: a datagroup (cache and PDTs that follow it), or one persistent derived table.

A datagroup is *triggered*: Looker's API does not tell when the PDTs that follow it are rebuilt. Done therefore means: Looker
shows our trigger time and, where it checks this datagroup at all, a check after the trigger reported no error. Who needs to
know that a table is rebuilt chooses the trigger `pdt`: that very build is followed to its end.
"""

from __future__ import annotations

import json
from typing import Any

from looker_sdk.sdk.api40 import models

from shared.connectors import looker
from shared.connectors._base import RefreshStatus, VendorRefresh
from shared.connectors.looker.client import LookerClient
from shared.errors import InvalidRequestError, TargetError, UnsupportedError
from shared.ports import Clock

DATAGROUP, PDT = "datagroup", "pdt"
NEVER = "never"
PDT_STATES = {  # consumers of the API know these words, e.g. Airflow's Looker hook; the contract does not list them
    "added": RefreshStatus.RUNNING,
    "pending": RefreshStatus.RUNNING,
    "running": RefreshStatus.RUNNING,
    "unknown": RefreshStatus.RUNNING,
    "complete": RefreshStatus.SUCCEEDED,
    "error": RefreshStatus.FAILED,
    "killed": RefreshStatus.CANCELLED,
}


class LookerRefresh:
    """Starts and follows one kind of refresh; `vendor_id` is `pdt:<id>` or `datagroup:<trigger>:<check before>:<id>`."""

    def __init__(self, config: looker.Config, client: LookerClient, clock: Clock) -> None:
        self._config = config
        self._client = client
        self._clock = clock

    def start(self, run_id: str, trigger: str | None) -> VendorRefresh:
        """Trigger the datagroup or the PDT build.

        Raises:
            UnsupportedError: nothing to refresh is configured, or not of this kind.
            InvalidRequestError: `trigger` is neither `datagroup` nor `pdt`.
        """
        config = self._config
        if trigger not in (None, DATAGROUP, PDT):
            raise InvalidRequestError(f"options.trigger is {trigger!r}; expected datagroup or pdt")
        if trigger in (None, DATAGROUP) and config.datagroup_id:
            return self._start_datagroup(config.datagroup_id)
        if trigger in (None, PDT) and config.model and config.view:
            return self._start_pdt(run_id, config.model, config.view)
        missing = {DATAGROUP: "datagroup_id", PDT: "model and view"}.get(
            trigger or "", "datagroup_id, or model and view"
        )
        raise UnsupportedError(f"this connector has nothing to refresh so: set {missing} on it")

    def poll(self, vendor_id: str) -> VendorRefresh:
        """Ask once how it stands. Raises `InvalidRequestError` for an id that is not ours."""
        kind, _, rest = vendor_id.partition(":")
        if kind == PDT and rest:
            return self._poll_pdt(vendor_id, rest)
        parts = rest.split(":", 2)
        if kind != DATAGROUP or len(parts) != 3:
            raise InvalidRequestError(f"{vendor_id!r} is not the id of a Looker refresh")
        return self._poll_datagroup(
            vendor_id, triggered_at=int(parts[0]), checked_before=parts[1], datagroup_id=parts[2]
        )

    def cancel(self, vendor_id: str) -> None:
        """Stop a PDT build. Raises `UnsupportedError` for a datagroup: a trigger cannot be taken back."""
        kind, _, build = vendor_id.partition(":")
        if kind != PDT:
            raise UnsupportedError("a datagroup's trigger cannot be taken back; only a PDT build can be stopped")
        self._client.call(
            "stopping the PDT build", lambda sdk: sdk.stop_pdt_build(build, source="bi-connectors"), needs="develop"
        )

    def _start_datagroup(self, datagroup_id: str) -> VendorRefresh:
        before = self._datagroup(datagroup_id)
        triggered_at = int(self._client.vendor_now().timestamp()) - 1  # Looker refuses a time in its future
        after = self._client.call(
            f"triggering datagroup {datagroup_id!r}",
            lambda sdk: sdk.update_datagroup(datagroup_id, models.WriteDatagroup(triggered_at=triggered_at)),
            needs="update_datagroups",
        )
        if (after.triggered_at or 0) < triggered_at:
            raise TargetError(f"Looker took the trigger of datagroup {datagroup_id!r} and does not show it; report it")
        checked_before = NEVER if before.trigger_check_at is None else str(before.trigger_check_at)
        vendor_id = f"{DATAGROUP}:{triggered_at}:{checked_before}:{datagroup_id}"
        return VendorRefresh(vendor_id, RefreshStatus.RUNNING, "triggered", started_at=self._clock.now())

    def _poll_datagroup(
        self, vendor_id: str, *, triggered_at: int, checked_before: str, datagroup_id: str
    ) -> VendorRefresh:
        found = self._datagroup(datagroup_id)
        if (found.triggered_at or 0) < triggered_at:
            return VendorRefresh(vendor_id, RefreshStatus.RUNNING, "not shown as triggered yet")
        never_checked = found.trigger_check_at is None and checked_before == NEVER
        was_checked = found.trigger_check_at is not None and str(found.trigger_check_at) != checked_before
        if was_checked and found.trigger_error:
            return VendorRefresh(
                vendor_id,
                RefreshStatus.FAILED,
                "trigger_error",
                ended_at=self._clock.now(),
                reason=f"Looker's check of datagroup {datagroup_id!r} failed: {found.trigger_error}",
            )
        if never_checked or was_checked:
            return VendorRefresh(vendor_id, RefreshStatus.SUCCEEDED, "triggered", ended_at=self._clock.now())
        return VendorRefresh(vendor_id, RefreshStatus.RUNNING, "triggered, not checked yet")

    def _start_pdt(self, run_id: str, model: str, view: str) -> VendorRefresh:
        started = self._client.call(
            f"starting the build of {model}.{view}",
            lambda sdk: sdk.start_pdt_build(
                model, view, force_rebuild="true", workspace="production", source=f"bi-connectors {run_id}"
            ),
            needs="develop (and PDT API control on the connection)",
            is_repeatable=False,
        )
        if not started.materialization_id:
            raise TargetError(f"Looker started no build of {model}.{view}: {_text(started.resp_text)[1]}")
        return VendorRefresh(
            f"{PDT}:{started.materialization_id}", RefreshStatus.RUNNING, "added", started_at=self._clock.now()
        )

    def _poll_pdt(self, vendor_id: str, build: str) -> VendorRefresh:
        try:
            answer = self._client.call(
                "asking about the PDT build", lambda sdk: sdk.check_pdt_build(build), needs="develop"
            )
        except TargetError as error:
            if error.details.get("vendor_status") != 404:
                raise
            return VendorRefresh(vendor_id, RefreshStatus.RUNNING, "not shown", is_seen=False)
        word, message = _text(answer.resp_text)
        status = PDT_STATES.get(word, RefreshStatus.RUNNING)
        ended_at = None if status is RefreshStatus.RUNNING else self._clock.now()
        reason = (message or None) if status is RefreshStatus.CANCELLED else None
        if status is RefreshStatus.FAILED:
            reason = f"Looker could not build the table: {message or 'no explanation'}"
        return VendorRefresh(vendor_id, status, word, ended_at=ended_at, reason=reason)

    def _datagroup(self, datagroup_id: str) -> models.Datagroup:
        return self._client.call(
            f"reading datagroup {datagroup_id!r}", lambda sdk: sdk.datagroup(datagroup_id), needs="see_datagroups"
        )


def _text(resp_text: str | None) -> tuple[str, str]:
    """Return (status, message) of `resp_text`, which is JSON in a string; ("unknown", the text) if it is not."""
    try:
        parsed: Any = json.loads(resp_text or "")
    except ValueError:
        return "unknown", resp_text or ""
    if not isinstance(parsed, dict):
        return "unknown", str(parsed)
    return str(parsed.get("status", "unknown")), str(parsed.get("message") or "")
