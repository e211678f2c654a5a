"""What the guide asks of curl and git, asked of the real ones: curl of a server on this machine, git in a scratch repository.

So a flag, a verb or a way of quoting that the program does not take is found, without a word to anybody else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from infra.check.guide import IDENTITY, Asked, Walk
from infra.check.terraform import CheckError

MOST_S = 30


def of_curl(seen: Walk) -> int:
    """Send each request to a server of our own: it must come with its verb, its path and the token. Returns how many."""
    asked = list(seen.of("curl"))
    with _server() as server:
        for one in asked:
            urls = [word for word in one.words if word.startswith("https://")]
            if len(urls) != 1:
                raise CheckError(f"infra/DEPLOY.md, {one.step!r}: curl is asked for {len(urls)} addresses, not one")
            path = urlsplit(urls[0]).path
            here = f"http://127.0.0.1:{server.server_port}{path}"
            _run(
                "curl", one, [here if word == urls[0] else word for word in one.words[1:]], Path(tempfile.gettempdir())
            )
            verb = one.words[one.words.index("-X") + 1] if "-X" in one.words else "GET"
            if server.came != [wanted := (verb, path, f"Bearer {IDENTITY}")]:
                raise CheckError(f"infra/DEPLOY.md, {one.step!r}: curl sent {server.came}, expected {wanted}")
            server.came.clear()
    return len(asked)


def of_git(seen: Walk) -> int:
    """Run each command in a clone of a repository that has one commit more. Returns how many."""
    asked = list(seen.of("git"))
    for one in asked:
        with tempfile.TemporaryDirectory(prefix="guide-git-") as name:
            origin, clone = Path(name) / "origin", Path(name) / "clone"
            _run("git", one, ["init", "--quiet", str(origin)], Path(name))
            _run("git", one, ["commit", "--quiet", "--allow-empty", "--message=one"], origin)
            _run("git", one, ["clone", "--quiet", str(origin), str(clone)], Path(name))
            _run("git", one, ["commit", "--quiet", "--allow-empty", "--message=two"], origin)
            _run("git", one, list(one.words[1:]), clone)
    return len(asked)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.came: list[tuple[str, str, str | None]] = []


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.came.append((self.command, self.path, self.headers.get("Authorization")))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the names that http.server looks for

    def log_message(self, *_: object) -> None:
        """Say nothing: a failure tells the command."""


@contextmanager
def _server() -> Iterator[_Server]:
    server = _Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _run(program: str, asked: Asked, words: list[str], folder: Path) -> None:
    path = shutil.which(program)
    if path is None:
        raise CheckError(f"{program} is not on this machine; the guide's lines are held to it, so install it")
    who = {f"GIT_{role}_{what}": "guide@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(
        [path, *words],
        cwd=folder,
        env={
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(folder),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            **who,
        },
        capture_output=True,
        text=True,
        timeout=MOST_S,
        check=False,
    )
    if done.returncode:
        raise CheckError(
            f"infra/DEPLOY.md, {asked.step!r}: {program} does not take {' '.join(asked.words)}: {done.stderr[-500:]}"
        )
