"""The search for secrets finds what is planted, and leaves out only the places where secrets belong."""

from __future__ import annotations

import gzip
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.accounts import load_accounts
from infra.local.canaries import canaries, finds_what_is_planted, leaks, spellings
from tests.canaries import CANARIES, left_in, shown_in

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder of its own: what is planted in one of pytest's would be found at the end of the run."""
    with tempfile.TemporaryDirectory(prefix="canaries-") as folder:
        yield Path(folder)


def test_planted_secrets_are_found_and_the_holders_are_not(place: Path) -> None:
    accounts = load_accounts(place, None)
    secret = canaries(accounts)["Looker client secret"]
    for name in ("logs/register.log", "emulators/firestore.sqlite", "gcs/frozen/part.jsonl", "identity/key"):
        (place / name).parent.mkdir(exist_ok=True, parents=True)
        (place / name).write_bytes(b"x" * 1000 + secret)
    found = ["emulators/firestore.sqlite", "gcs/frozen/part.jsonl", "logs/register.log"]
    assert sorted(leaks(accounts, place)) == [f"Looker client secret in {name}" for name in found]
    assert sorted(left_in(place)) == [f"Looker client secret in {place / name}" for name in found]


def test_every_spelling_of_every_secret_is_found(place: Path) -> None:
    accounts = load_accounts(place, None)
    assert finds_what_is_planted(accounts, place)
    assert leaks(accounts, place) == []


@pytest.mark.parametrize("spelling", [b"p/w+ d", b"p%2Fw%2B%20d", b"p%2Fw%2B+d", b"cC93KyBk", b"wL3crIG", b"AvdysgZ"])
def test_a_secret_is_looked_for_in_each_of_its_spellings(spelling: bytes) -> None:
    assert spelling in spellings(b"p/w+ d")


def test_secrets_in_packed_files_are_found(place: Path) -> None:
    accounts = load_accounts(place, None)
    secret = canaries(accounts)["warehouse password"]
    (place / "rows.csv.gz").write_bytes(gzip.compress(b"a\n" + secret))
    with zipfile.ZipFile(place / "rows.xlsx", "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr("xl/sheet.xml", secret * 9)
    assert sorted(leaks(accounts, place)) == ["warehouse password in rows.csv.gz", "warehouse password in rows.xlsx"]


def test_a_secret_in_a_command_line_is_found(place: Path) -> None:
    accounts = load_accounts(place, None)
    secret = canaries(accounts)["Entra client secret"].decode()
    with subprocess.Popen([sys.executable, "-c", "input()", secret], stdin=subprocess.PIPE) as process:
        found = leaks(accounts, place)
        process.communicate(b"\n")
    assert found == [f"Entra client secret in the command line of process {process.pid}"]


TESTS = """
from pathlib import Path

def test_writes(tmp_path: Path) -> None:
    (tmp_path / "left.log").write_text("before {left} after")

def test_prints() -> None:
    print("before {printed} after")

def test_prints_and_takes(capsys) -> None:
    print("before {taken} after")
    assert "after" in capsys.readouterr().out
"""


@pytest.mark.parametrize(
    ("left", "printed", "taken", "said"),
    [
        ("nothing", "nothing", "nothing", "3 passed"),
        (
            sorted(spellings(CANARIES[0].encode()))[0].decode(),
            "nothing",
            "nothing",
            "the run left a secret: s3cret-value",
        ),
        ("nothing", "canary-of-looker", "nothing", "canary-of-looker in what"),
        ("nothing", "nothing", "canary-of-looker", "test_prints_and_takes printed: a secret reached the log"),
    ],
)
def test_a_run_of_tests_that_leaves_or_prints_a_secret_fails(
    place: Path, left: str, printed: str, taken: str, said: str
) -> None:
    (place / "test_planted.py").write_text(TESTS.format(left=left, printed=printed, taken=taken))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
    ]
    more = ["--rootdir", str(place), "--basetemp", str(place / "temporary"), str(place / "test_planted.py")]
    done = subprocess.run([*command, *more], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert said in done.stdout
    assert done.returncode == (0 if said == "3 passed" else 1)


def test_a_text_is_searched_for_each_spelling() -> None:
    for canary in CANARIES:
        assert [shown_in(f"x {form.decode()} x") for form in spellings(canary.encode())] == [[canary]] * len(
            spellings(canary.encode())
        )
