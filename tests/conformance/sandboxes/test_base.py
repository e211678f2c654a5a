"""What every sandbox stands on: routes, requests, connections, traffic, admin API."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import stat
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

import pytest
import requests

from infra.local.sandboxes import sandbox_classes
from infra.local.sandboxes._base import Request, Response, Sandbox, SandboxContext, VendorError, route
from infra.local.sandboxes.certificates import server_context
from infra.local.sandboxes.server import SandboxServer


class Weather(Sandbox):
    """A vendor made for these tests."""

    name = "weather"
    hosts = ("api.weather.example",)
    default_settings: ClassVar[dict[str, Any]] = {"unit": "celsius", "lines": 0}

    def __init__(self, context: SandboxContext) -> None:
        super().__init__(context)
        self.db.execute("CREATE TABLE IF NOT EXISTS notes (text TEXT PRIMARY KEY)")

    @route("GET", "/v1/cities/<city>")
    def city(self, request: Request, city: str) -> Response:
        return Response(200, {"city": city, "tags": request.query_list("tag"), "unit": self.settings["unit"]})

    @route("POST", "/v1/cities/<city>:rename")
    @route("PUT", "/v1/cities/<path:city>")
    def rename(self, request: Request, city: str) -> Response:
        return Response(200, {"city": city, "body": request.json()})

    @route("POST", "/v1/login")
    def login(self, request: Request) -> Response:
        return Response(200, {"access_token": "canary-token", "seen": sorted(request.form())}, {"Set-Cookie": "canary"})

    @route("GET", "/v1/private")
    def private(self, request: Request) -> Response:
        if self.context.tokens.check("weather", request.bearer) is None:
            raise VendorError(Response(401, {"error": "token"}))
        return Response(204)

    @route("POST", "/v1/notes")
    def add_note(self, request: Request) -> Response:
        with self.transaction() as db:
            db.execute("INSERT INTO notes VALUES (?)", (request.json()["text"],))
            if request.json().get("fail"):
                raise VendorError(Response(409, {"error": "as asked"}))
        return Response(201)

    @route("GET", "/v1/notes")
    def notes(self, request: Request) -> Response:
        with self.lock:
            return Response(200, [row["text"] for row in self.db.execute("SELECT text FROM notes ORDER BY text")])

    @route("GET", "/v1/bug")
    def bug(self, request: Request) -> Response:
        raise KeyError("a bug")

    def admin(self, request: Request, path: str) -> Response | None:
        return Response(200, {"asked": path}) if path == "notes/1" else None

    def bad_request(self, message: str) -> Response:
        return Response(400, {"weather_says": "bad json"})


class Storm(Sandbox):
    """A second vendor on the same host."""

    name = "storm"
    hosts = ("api.weather.example", "storm.example")

    @route("GET", "/v1/storms")
    def storms(self, request: Request) -> Response:
        return Response(200, [])


@pytest.fixture(scope="module")
def sandboxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    with SandboxServer(tmp_path_factory.mktemp("weather"), classes=[Weather, Storm]) as server:
        yield server


def get(path: str, **options: Any) -> requests.Response:
    return requests.get(f"https://api.weather.example{path}", timeout=10, **options)


def last_exchange(server: SandboxServer) -> dict[str, Any]:
    return list(server.traffic.read())[-1]


# --- routes and requests


def test_a_route_gets_its_path_argument_and_repeated_parameters(vendors: SandboxServer) -> None:
    answer = get("/v1/cities/Bad%20Ischl?tag=a&tag=b")
    assert answer.json() == {"city": "Bad Ischl", "tags": ["a", "b"], "unit": "celsius"}
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"


def test_an_encoded_slash_stays_inside_its_path_argument(vendors: SandboxServer) -> None:
    assert get("/v1/cities/a%2Fb").json()["city"] == "a/b"
    assert get("/v1/cities/a/b").status_code == 501


def test_a_path_argument_takes_real_slashes_and_a_suffix_is_not_part_of_it(vendors: SandboxServer) -> None:
    url = "https://api.weather.example/v1/cities"
    slashes = requests.put(f"{url}/a/b", json=1, timeout=10).json()["city"]
    suffix = requests.post(f"{url}/a:b:rename", json=1, timeout=10).json()["city"]
    assert (slashes, suffix) == ("a/b", "a:b")


def test_an_unknown_route_is_501_and_names_itself(vendors: SandboxServer) -> None:
    answer = get("/v1/nothing")
    assert (answer.status_code, answer.json()) == (501, {"error": "not imitated", "route": "GET /v1/nothing"})


def test_a_known_path_with_another_method_is_501(vendors: SandboxServer) -> None:
    assert requests.delete("https://api.weather.example/v1/cities/x", timeout=10).status_code == 501


def test_two_sandboxes_share_a_host_by_their_routes(vendors: SandboxServer) -> None:
    assert [get("/v1/storms").status_code, get("/v1/cities/x").status_code] == [200, 200]


def test_a_body_that_is_not_json_gets_the_vendors_own_400(vendors: SandboxServer) -> None:
    url = "https://api.weather.example/v1/cities/x"
    for body in (b"{", b"", b'{"a": NaN}'):
        answer = requests.put(url, data=body, timeout=10)
        assert (answer.status_code, answer.json()) == (400, {"weather_says": "bad json"})


def test_a_chunked_body_arrives_whole(vendors: SandboxServer) -> None:
    chunks = iter([b'{"a": ', b"1", b"}"])
    answer = requests.put("https://api.weather.example/v1/cities/x", data=chunks, timeout=10)
    assert answer.json()["body"] == {"a": 1}


def test_exact_json_keeps_decimals_and_long_integers() -> None:
    request = Request("POST", "h", "/", body=b'{"a": 0.10, "b": 123456789012345678901234567890}')
    assert request.json_exact() == {"a": Decimal("0.10"), "b": 123456789012345678901234567890}
    assert str(request.json_exact()["a"]) == "0.10"


def test_a_bug_in_a_handler_is_a_500_that_names_the_sandbox(
    vendors: SandboxServer, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = get("/v1/bug")
    assert (answer.status_code, answer.json()["sandbox"]) == (500, "weather")
    assert "KeyError" in capsys.readouterr().err


def test_a_failed_transaction_leaves_nothing(vendors: SandboxServer) -> None:
    url = "https://api.weather.example/v1/notes"
    failed = requests.post(url, json={"text": "lost", "fail": True}, timeout=10)
    requests.post(url, json={"text": "kept"}, timeout=10)
    assert (failed.status_code, get("/v1/notes").json()) == (409, ["kept"])


def test_every_sandbox_of_the_package_declares_a_name_and_hosts() -> None:
    names = [kind.name for kind in sandbox_classes()]
    assert names[:2] == ["entra_id", "google_identity"]
    assert all(kind.hosts for kind in sandbox_classes())


# --- connections


def test_a_connection_is_kept_alive(sandboxes: SandboxServer) -> None:
    context = ssl.create_default_context(cafile=str(sandboxes.ca_file))
    context.check_hostname = False
    connection = http.client.HTTPSConnection("127.0.0.1", sandboxes.tls_port, context=context, timeout=10)
    connection.connect()
    first = connection.sock
    for _ in range(3):
        connection.request("GET", "/v1/cities/x", headers={"Host": "api.weather.example"})
        assert connection.getresponse().read()
    assert connection.sock is first
    connection.close()


def test_a_host_that_no_sandbox_serves_is_421(sandboxes: SandboxServer) -> None:
    answer = requests.get(f"https://127.0.0.1:{sandboxes.tls_port}/", verify=str(sandboxes.ca_file), timeout=10)
    assert answer.status_code == 421


def test_tls_is_1_2_or_newer(sandboxes: SandboxServer) -> None:
    assert server_context(sandboxes.data / "identity" / "leaf.pem").minimum_version is ssl.TLSVersion.TLSv1_2


def test_the_certificate_satisfies_a_strict_client(sandboxes: SandboxServer) -> None:
    context = ssl.create_default_context(cafile=str(sandboxes.ca_file))
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    raw = socket.create_connection(("127.0.0.1", sandboxes.tls_port))
    with context.wrap_socket(raw, server_hostname="api.weather.example") as connection:
        assert connection.version() == "TLSv1.3"


def test_clients_that_hang_up_print_nothing(vendors: SandboxServer, capfd: pytest.CaptureFixture[str]) -> None:
    context = ssl.create_default_context(cafile=str(vendors.ca_file))
    for sent in (b"", b"GET /v1/cities/x HT", b"POST /v1/login HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf"):
        raw = socket.create_connection(("127.0.0.1", vendors.tls_port))
        with context.wrap_socket(raw, server_hostname="localhost") as connection:
            connection.sendall(sent)
    with socket.create_connection(("127.0.0.1", vendors.tls_port)) as raw:
        raw.sendall(b"this is not TLS\r\n\r\n")
    assert get("/v1/cities/x").ok
    time.sleep(0.2)
    assert capfd.readouterr().err == ""


# --- traffic


def test_an_exchange_is_logged_with_route_bodies_and_sizes(vendors: SandboxServer) -> None:
    url = "https://api.weather.example/v1/cities/Graz:rename?a=1"
    requests.post(url, json={"n": [1]}, timeout=10)
    line = last_exchange(vendors)
    assert datetime.fromisoformat(line["at"]).tzinfo is not None
    assert {key: line[key] for key in ("vendor", "method", "host", "path", "route", "query", "status", "fault")} == {
        "vendor": "weather",
        "method": "POST",
        "host": "api.weather.example",
        "path": "/v1/cities/Graz:rename",
        "route": "POST /v1/cities/<city>:rename",
        "query": {"a": "1"},
        "status": 200,
        "fault": None,
    }
    assert (line["request_body"], line["bytes_in"]) == ({"n": [1]}, 10)
    assert (line["response_body"], line["bytes_out"]) == ({"city": "Graz", "body": {"n": [1]}}, 32)


def test_no_secret_reaches_the_traffic_log(vendors: SandboxServer) -> None:
    form = {"client_id": "me", "client_secret": "canary-secret", "assertion": "canary-assertion"}
    requests.post(
        "https://api.weather.example/v1/login?access_token=canary-query",
        data=form,
        headers={"Authorization": "Bearer canary-bearer", "Cookie": "canary-cookie"},
        timeout=10,
    )
    assert last_exchange(vendors)["request_body"]["client_id"] == "me"
    assert "canary" not in vendors.traffic.path.read_text()
    assert stat.S_IMODE(vendors.traffic.path.stat().st_mode) == 0o600


def test_of_a_large_body_lists_keep_fifty_items(vendors: SandboxServer) -> None:
    rows = [[index, "x" * 20] for index in range(100_000)]
    requests.put("https://api.weather.example/v1/cities/x", json={"rows": rows}, timeout=10)
    line = last_exchange(vendors)
    assert (line["request_body_truncated"], len(line["request_body"]["rows"])) == (True, 50)
    assert line["bytes_in"] > 2_000_000


def test_a_large_body_that_no_handler_parsed_is_logged_by_size(vendors: SandboxServer) -> None:
    requests.post("https://api.weather.example/v1/unknown", data=b"x" * 2_000_001, timeout=10)
    line = last_exchange(vendors)
    assert (line["request_body"], line["bytes_in"], line["status"]) == (None, 2_000_001, 501)


def test_many_threads_write_whole_lines(vendors: SandboxServer) -> None:
    before = vendors.calls("weather")["total"]
    threads = [threading.Thread(target=lambda: [get("/v1/cities/x") for _ in range(10)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = vendors.traffic.path.read_text().splitlines()
    assert vendors.calls("weather")["total"] - before == 80
    assert all(json.loads(line)["status"] for line in lines)


# --- admin


def test_admin_shows_and_moves_the_clock(vendors: SandboxServer) -> None:
    url = f"{vendors.admin_url}/clock"
    before = requests.get(url, timeout=10).json()["offset_s"]
    after = requests.post(url, json={"advance_s": 90}, timeout=10).json()["offset_s"]
    assert after - before == 90
    assert requests.post(url, json={"advance_s": "soon"}, timeout=10).status_code == 400
    assert requests.post(url, json={"advance_s": -1}, timeout=10).status_code == 400


def test_admin_counts_calls_by_route_and_status(vendors: SandboxServer) -> None:
    get("/v1/storms")
    counts = requests.get(f"{vendors.admin_url}/calls?vendor=storm", timeout=10).json()
    assert counts["routes"]["GET /v1/storms"]["200"] == counts["total"]
    assert "storm" in requests.get(f"{vendors.admin_url}/calls", timeout=10).json()


def test_admin_changes_checks_and_resets_knobs(vendors: SandboxServer) -> None:
    url = f"{vendors.admin_url}/settings/weather"
    requests.put(url, json={"unit": "kelvin"}, timeout=10)
    changed = get("/v1/cities/x").json()["unit"]
    wrong = [requests.put(url, json=body, timeout=10) for body in ({"colour": 1}, {"lines": "many"}, {"lines": True})]
    requests.put(url, json={"unit": None}, timeout=10)
    assert (changed, get("/v1/cities/x").json()["unit"]) == ("kelvin", "celsius")
    assert [answer.status_code for answer in wrong] == [400, 400, 400]
    assert "known: latency_ms, lines, unit" in wrong[0].json()["error"]


def test_latency_delays_every_answer_of_its_vendor(vendors: SandboxServer) -> None:
    vendors.settings("weather", latency_ms=150)
    started = time.monotonic()
    get("/v1/cities/x")
    assert time.monotonic() - started >= 0.15


def test_admin_pages_through_traffic(vendors: SandboxServer) -> None:
    get("/v1/cities/first")
    since = last_exchange(vendors)["at"]
    get("/v1/cities/second")
    get("/v1/storms")
    url = f"{vendors.admin_url}/traffic"
    found = requests.get(url, {"vendor": "weather", "since": since}, timeout=10).json()
    assert ([line["path"] for line in found["exchanges"]], found["more"]) == (["/v1/cities/second"], False)
    assert requests.get(url, {"since": "yesterday"}, timeout=10).status_code == 400


def test_admin_switches_the_traffic_log_off_and_goes_on_counting(vendors: SandboxServer) -> None:
    url = f"{vendors.admin_url}/traffic"
    requests.put(url, json={"enabled": False}, timeout=10)
    size, calls = vendors.traffic.path.stat().st_size, vendors.calls("weather")["total"]
    get("/v1/cities/x")
    unchanged = vendors.traffic.path.stat().st_size == size
    requests.put(url, json={"enabled": True}, timeout=10)
    assert (unchanged, vendors.calls("weather")["total"] - calls) == (True, 1)


def test_admin_ends_a_vendors_tokens(vendors: SandboxServer) -> None:
    headers = {"Authorization": f"Bearer {vendors.tokens.issue('weather', 'me', '', 60)}"}
    before = get("/v1/private", headers=headers).status_code
    requests.post(f"{vendors.admin_url}/tokens/expire", json={"vendor": "weather"}, timeout=10)
    assert (before, get("/v1/private", headers=headers).status_code) == (204, 401)


def test_admin_passes_a_vendors_own_routes_on(vendors: SandboxServer) -> None:
    answer = requests.get(f"{vendors.admin_url}/weather/notes/1", timeout=10)
    assert answer.json() == {"asked": "notes/1"}
    assert requests.get(f"{vendors.admin_url}/weather/else", timeout=10).status_code == 404


def test_admin_refuses_another_host_name(vendors: SandboxServer) -> None:
    answer = requests.get(f"{vendors.admin_url}/clock", headers={"Host": "evil.example"}, timeout=10)
    assert answer.status_code == 403


def test_admin_answers_404_and_400_in_json(vendors: SandboxServer) -> None:
    unknown = requests.get(f"{vendors.admin_url}/nothing", timeout=10)
    broken = requests.post(f"{vendors.admin_url}/faults", data=b"{", timeout=10)
    assert (unknown.status_code, broken.status_code) == (404, 400)
    assert "GET /nothing" in unknown.json()["error"]
