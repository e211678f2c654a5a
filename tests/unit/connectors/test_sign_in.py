"""A place in a quota's window is taken when the token is there: a slow sign-in would let the call arrive in another window."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from shared.connectors.google_sheets.client import SheetsHttp
from shared.connectors.power_bi.client import Session
from tests.fakes.stores import FakeClock


class Watched:
    """A quota, and whatever else is told to it, in order."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @contextmanager
    def hold(self, _: Any) -> Iterator[None]:
        self.seen.append("place")
        yield

    def refused(self, *_: Any) -> None:
        raise AssertionError("nothing was refused")

    def answer(self, *_: Any, **__: Any) -> requests.Response:
        self.seen.append("call")
        made = requests.Response()
        made.status_code, made._content = 200, b"{}"
        return made


def test_of_google_sheets(monkeypatch: pytest.MonkeyPatch) -> None:
    quota = Watched()
    account = SimpleNamespace(
        service_account_email="a@b", project_id="p", valid=False, refresh=lambda _: quota.seen.append("token")
    )
    session = SimpleNamespace(
        credentials=account, _auth_request=None, mount=lambda *_: None, headers={}, request=quota.answer
    )
    http = SheetsHttp(account, session, clock=FakeClock(), quota=quota)  # type: ignore[arg-type]
    http.request("get", "https://sheets.googleapis.com/v4/spreadsheets/s")
    account.valid = True
    http.request("get", "https://sheets.googleapis.com/v4/spreadsheets/s")
    assert quota.seen == ["token", "place", "call", "place", "call"]


def test_of_power_bi(monkeypatch: pytest.MonkeyPatch) -> None:
    quota = Watched()
    client = Session("t", "c", "s", FakeClock(), quota)  # type: ignore[arg-type]
    monkeypatch.setattr(client, "sign_in", lambda: quota.seen.append("token") or "t")
    monkeypatch.setattr(client._http, "request", quota.answer)
    client.call("GET", "groups", "listing")
    assert quota.seen == ["token", "place", "call"]
