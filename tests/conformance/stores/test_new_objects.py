"""An object that is to be new is asked for with `ifGenerationMatch=0`, and Google's 412 becomes a conflict. The emulator ignores it.

What is put from memory is known by the answer to its one call. And once only: an upload that failed is not sent again when Python
collects its writer.
"""

from __future__ import annotations

import gc
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from shared.errors import ConflictError
from shared.stores.cloud_storage import CloudStorageObjects


def test_a_name_that_is_taken_is_a_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(self.path)
            self.send_response(412)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
        backup = CloudStorageObjects("p").writer("b", "n", content_type="text/plain", new=True)
        with pytest.raises(ConflictError, match="gs://b/n exists already"), backup as sink:
            sink.write(b"second")
        del backup, sink
        gc.collect()
        server.shutdown()
    assert len(asked) == 1
    assert "ifGenerationMatch=0" in asked[0]


def test_what_is_put_is_known_by_the_answer_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, written = (
        [],
        {"bucket": "b", "name": "n", "generation": "17", "size": "6", "timeCreated": "2026-01-05T12:00:00Z"},
    )

    class Storing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            body = json.dumps(written).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Storing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
        info = CloudStorageObjects("p").put("b", "n", b"second", content_type="text/plain")
        server.shutdown()
    assert (info.uri, info.generation, info.size_bytes) == ("gs://b/n", 17, 6)
    ((path, body),) = asked
    assert "uploadType=multipart" in path
    assert b"second" in body
