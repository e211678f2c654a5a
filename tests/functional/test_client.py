"""The client against the real dispatcher on fakes: rows and frames go in, jobs are followed, problems are exceptions."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flask
import pandas as pd
import pytest
import requests
from pandas.testing import assert_frame_equal
from requests.adapters import BaseAdapter
from werkzeug.test import create_environ

from shared.client import ApiError, Client
from shared.client.__main__ import main
from shared.client.client import JobFailedError
from shared.client.transport import check_url
from tests.functional.conftest import POWER_BI, World

URL = "http://127.0.0.1:8080"


class Wire(BaseAdapter):
    """Carries a request to the function that answers it, as the local gateway does; the workers run while a client waits."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self.seen: list[requests.PreparedRequest] = []
        self.fail: list[Exception | int] = []
        """What the next requests meet: an exception in place of the answer, or a status in place of the function."""

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:  # type: ignore[override]
        self.seen.append(request)
        trouble = self.fail.pop(0) if self.fail else None
        if isinstance(trouble, int):
            return _answer(request, flask.Response("{}", status=trouble, headers={"Retry-After": "7"}))
        if "wait=" in str(request.url):
            self._world.work()
        environ = create_environ(
            str(request.path_url),
            method=str(request.method),
            data=request.body or b"",
            headers=[(name, str(value)) for name, value in request.headers.items()],
        )
        function = _function(str(request.path_url))
        answer = self._world._functions[function](flask.Request(environ))
        if trouble is not None:
            raise trouble
        return _answer(request, answer)

    def close(self) -> None:
        pass


def _answer(request: requests.PreparedRequest, answer: flask.Response) -> requests.Response:
    found = requests.Response()
    found.status_code = answer.status_code
    found.headers.update(dict(answer.headers))
    found.raw = io.BytesIO(answer.get_data())
    found.request = request
    return found


def _function(path: str) -> str:
    if any(part in path for part in ("/export", "/tables")):
        return "export"
    return "refresh" if any(part in path for part in ("/refresh", "/schedules", "/apply")) else "register"


@pytest.fixture
def wire(registered: World) -> Wire:
    return Wire(registered)


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def client(wire: Wire, pauses: list[float]) -> Client:
    session = requests.Session()
    session.mount("http://", wire)
    return Client(URL, session=session, sleep=pauses.append)


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": pd.Series([1, None], dtype="Int16"),
            "team": pd.Series(["a", "b"], dtype=pd.CategoricalDtype(["b", "a", "c"], ordered=True)),
            "zip": ["007", "=1+1"],
            "at": pd.to_datetime(["2024-10-27T00:30Z", "2024-10-27T01:30Z"]).tz_convert("Europe/Berlin"),
        }
    )


def test_a_frame_is_delivered_and_comes_back_with_its_dtypes(client: Client, registered: World) -> None:
    job = client.export("ymca_sheets", "volunteers", frame())
    assert (job["status"], job["record_count"], job["export_format"]) == ("success", 2, "parquet")
    assert [row["zip"] for row in registered.vendor.live["volunteers"]] == ["007", "=1+1"]
    back = client.exported(job["id"])
    assert list(back.dtypes) == list(frame().dtypes)
    assert_frame_equal(back, frame())


def test_connectors_tables_jobs_and_schedules_are_reached(client: Client, wire: Wire) -> None:
    assert [one["name"] for one in client.connectors()] == ["ymca_powerbi", "ymca_sheets"]
    assert client.connector("ymca_sheets")["connector_type"] == "google_sheets"
    assert client.register(POWER_BI)["name"] == "ymca_powerbi"
    assert client.test("ymca_sheets")["ok"] is True
    assert client.test_all()["ok"] is True
    client.put_table("people", {"source": {"uri": "gs://tables/people.csv"}})
    assert [one["name"] for one in client.tables()] == ["people"]
    job = client.export("ymca_sheets", "volunteers", wait=False, rows=[{"a": 1}])
    assert [one["id"] for one in client.jobs("ymca_sheets", "pending")] == [job["id"]]
    assert client.change_job(job["id"], "cancel")["status"] == "cancelled"
    client.erase_job(job["id"])
    assert list(client.jobs()) == []
    schedule = client.schedule({"connector_name": "ymca_powerbi", "cron_expression": "0 6 * * *"})
    assert [one["id"] for one in client.schedules()] == [schedule["id"]]
    client.delete_schedule(schedule["id"])
    wanted = {"tables": [{"name": "people", "source": {"uri": "gs://tables/other.csv"}}]}
    assert [item["action"] for item in client.apply(wanted, dry_run=True)["items"]] == ["change"]
    assert next(client.tables())["source"]["uri"] == "gs://tables/people.csv"
    client.delete_connector("ymca_powerbi")
    assert [one["name"] for one in client.connectors()] == ["ymca_sheets"]


def test_rejects_are_read_page_by_page_and_replayed(client: Client, registered: World) -> None:
    rows = [{"id": number, "n": "x" if number % 2 else "1"} for number in range(300)]
    mapping = {"columns": [{"name": "id"}, {"name": "n", "type": "int64"}]}
    job = client.export("ymca_sheets", "t", rows=rows, mapping=mapping, contract={"on_breach": "discard_row"})
    rejects = list(client.rejects(job["id"]))
    assert [one["row"] for one in rejects] == list(range(2, 301, 2))
    rules = {"mapping": {"columns": [{"name": "id"}, {"name": "n", "value": 0}]}}
    assert client.replay_rejects(job["id"], rules)["record_count"] == 150
    assert len(registered.vendor.live["t"]) == 300


def test_a_refusal_is_an_exception_with_the_problems_code(client: Client) -> None:
    with pytest.raises(ApiError, match="not_found") as refused:
        client.connector("nobody")
    assert (refused.value.status, refused.value.code) == (404, "not_found")


def test_a_job_that_fails_or_is_held_is_an_exception_with_its_reason(client: Client) -> None:
    with pytest.raises(JobFailedError, match="row 1, column 'n'") as failed:
        client.export("ymca_sheets", "t", rows=[{"n": "x"}], mapping={"columns": [{"name": "n", "type": "int64"}]})
    assert failed.value.job["status"] == "failed"
    client.export("ymca_sheets", "t", rows=[{"n": 1}])
    with pytest.raises(JobFailedError, match="is held: the source is empty"):
        client.export("ymca_sheets", "t", rows=[])


def test_a_lost_reply_is_asked_for_again_under_the_same_key_and_makes_one_job(
    client: Client, wire: Wire, pauses: list[float]
) -> None:
    wire.fail = [requests.ConnectionError("reply lost"), 503]
    client.export("ymca_sheets", "t", wait=False, rows=[{"n": 1}])
    keys = {request.headers["Idempotency-Key"] for request in wire.seen}
    assert (len(wire.seen), len(keys)) == (3, 1)
    assert pauses == [1.0, 7.0], "as long as the API asks, where it does"
    assert len(list(client.jobs())) == 1


def test_trouble_that_does_not_end_is_raised(client: Client, wire: Wire) -> None:
    wire.fail = [503] * 5
    with pytest.raises(ApiError, match="http_503"):
        client.test_all()
    wire.fail = [requests.ConnectionError("down")] * 5
    with pytest.raises(requests.ConnectionError):
        client.test_all()


@pytest.mark.parametrize(
    "url", ["http://example.com", "ftp://127.0.0.1", "127.0.0.1:8080", "http://127.0.0.1.evil.example"]
)
def test_tokens_and_rows_are_not_sent_in_the_clear(url: str) -> None:
    with pytest.raises(ValueError, match="https"):
        check_url(url)
    with pytest.raises(ValueError, match="https"):
        Client(url)


def test_a_token_is_made_for_the_url_that_it_goes_to_and_none_for_this_machine(registered: World, wire: Wire) -> None:
    session = requests.Session()
    session.mount("https://", wire)
    asked: list[str] = []
    urls = {
        "register": "https://register.example/",
        "export": "https://export.example",
        "refresh": "https://refresh.example",
    }

    def token(audience: str) -> str:
        asked.append(audience)
        return "t"

    client = Client(urls, token=token, session=session)
    with pytest.raises(ApiError, match="unauthenticated"):
        client.connector("ymca_sheets")
    assert asked == ["https://register.example"]
    assert wire.seen[-1].headers["Authorization"] == "Bearer t"
    session.mount("http://", wire)
    Client(URL, session=session).connector("ymca_sheets")
    assert "Authorization" not in wire.seen[-1].headers


def test_a_frame_too_large_for_a_request_needs_a_place(client: Client) -> None:
    large = pd.DataFrame({"s": ["x" * 1000] * 10_000})
    with pytest.raises(ValueError, match="upload_to"):
        client.export("ymca_sheets", "t", large)
    with pytest.raises(ValueError, match="infinities"):
        client.export("ymca_sheets", "t", pd.DataFrame({"x": [float("inf")]}))


@pytest.fixture
def shell(client: Client, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.setattr("shared.client.__main__.Client", lambda url, **_: client)
    return lambda *arguments: main(["--url", URL, *arguments])


def test_the_shell_does_what_the_client_does(
    shell: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], registered: World
) -> None:
    def said() -> Any:
        lines = [line for line in capsys.readouterr().out.splitlines() if '"severity"' not in line]
        return json.loads("\n".join(lines))

    frame().to_parquet(tmp_path / "f.parquet")
    (tmp_path / "o.json").write_text('{"mapping": {"columns": [{"name": "zip"}]}}')
    assert (
        shell(
            "export", "ymca_sheets", "t", "--file", str(tmp_path / "f.parquet"), "--options", str(tmp_path / "o.json")
        )
        == 0
    )
    job = said()
    assert registered.vendor.live["t"] == [{"zip": "007"}, {"zip": "=1+1"}]
    assert shell("job", job["id"]) == 0
    assert said()["status"] == "success"
    assert shell("download", job["id"], str(tmp_path / "back.parquet")) == 0
    assert pd.read_parquet(tmp_path / "back.parquet")["zip"].tolist() == ["007", "=1+1"]
    assert shell("job", "nope") == 1
    assert '"code": "not_found"' in capsys.readouterr().err
    assert shell("export", "ymca_sheets", "t", "--file", "rows.xml") == 2
    with pytest.raises(SystemExit) as wrong:
        shell("nonsense")
    assert wrong.value.code == 2
