"""At least 500 generated requests by the API descriptions; `make campaign PART=api` throws 10,000 at a local cloud."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from typing import Any

import flask
import pytest
from werkzeug.serving import make_server

from infra.local.routing import BadPathError, RouteTable, merge
from tests.campaigns.api import throw
from tests.functional.conftest import ENVIRONMENT, World

FUNCTIONS = ("register", "export", "refresh")


@pytest.fixture
def world() -> World:
    return World({**ENVIRONMENT, "MAX_WAIT_S": "0.2"})


@pytest.fixture
def url(world: World) -> Iterator[str]:
    """The functions over fakes behind one address, as the gateway would put them."""
    documents = {name: world.call(name, "GET", "/openapi.json").body for name in FUNCTIONS}
    table, merged = RouteTable(documents), merge(documents.values())

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        request = flask.Request(environ)
        try:
            function = table.function_for(request.method, environ["RAW_URI"].partition("?")[0])
        except BadPathError:
            function = None
        if request.path == "/openapi.json":
            return flask.Response(json.dumps(merged), mimetype="application/json")(environ, start_response)
        return world._functions[function or "register"](request)(environ, start_response)

    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(30)


def test_no_generated_request_meets_what_is_not_described(
    url: str, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = throw(url, examples=14, seed=20260105, phases="examples,fuzzing,stateful")
    log = capsys.readouterr().out.splitlines()  # one line a request helps nobody, but where a fault came from does
    sys.stdout.write(f"\n{outcome.cases} cases over {outcome.operations} operations\n")
    assert outcome.failures == [], [line for line in log if '"unhandled"' in line or '"status":50' in line]
    assert outcome.cases >= 500


def test_an_undescribed_answer_is_found(url: str, world: World) -> None:
    """The tooth: without it the test above could not fail."""
    world.services.__dict__["tables"] = object()
    outcome = throw(url, examples=2, seed=1, phases="fuzzing")
    assert any("Server error" in failure and "/tables" in failure for failure in outcome.failures)
