"""Looks for the demo accounts' secrets where they do not belong: files of a data folder, and command lines of processes.

A secret is looked for as it is, as a URL spells it and as Base64 does wherever it stands in a text; in packed files too.
"""

from __future__ import annotations

import base64
import gzip
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

from infra.local.accounts import Accounts

HOLDERS = (
    "accounts.json",
    "endpoints.json",
    "identity/",
    "emulators/secret_manager.sqlite",
    "sandboxes/entra",
    "sandboxes/google_identity",
    "sandboxes/looker",
    "sandboxes/token",
    "try/",
)
"""Where secrets belong: the accounts themselves, Secret Manager, and what a vendor knows of its own clients."""
_BLOCK_BYTES, _LONGEST_BYTES, _MOST_UNPACKED_BYTES = 1 << 26, 1 << 10, 1 << 28


def canaries(accounts: Accounts) -> dict[str, bytes]:
    """Return the accounts' secrets by what they are."""
    pem = accounts.google.service_account_key["private_key"]
    return {
        "Entra client secret": accounts.entra.client_secret.encode(),
        "Looker client secret": accounts.looker.client_secret.encode(),
        "warehouse password": accounts.warehouse.password.encode(),
        "warehouse reader's password": accounts.warehouse.reader_password.encode(),
        "warehouse administrator's password": accounts.warehouse.admin_password.encode(),
        "Google private key": pem.splitlines()[5].encode(),
    }


def spellings(secret: bytes) -> frozenset[bytes]:
    """Return a secret as it is, in a URL, and what Base64 makes of it alone, whatever stands before and behind it."""
    text = secret.decode()
    found = {secret, quote(text, safe="").encode(), quote_plus(text).encode()}
    for before in range(3):  # a letter holds 6 bits: those at the ends hold some of a neighbour
        first, end = -(-8 * before // 6), 8 * (before + len(secret)) // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            found.add(encode(bytes(before) + secret)[first:end])
    return frozenset(found)


def files(data: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name and path of every file that may hold no secret: logs, documents, frozen and kept rows, traffic."""
    for path in data.rglob("*"):
        name = path.relative_to(data).as_posix()
        if path.is_file() and not path.is_symlink() and not name.startswith(HOLDERS):
            yield name, path


def leaks(accounts: Accounts, data: Path) -> list[str]:
    """Return in words where a secret was found: in files, and in the command line of any process of this machine."""
    places = [(name, path) for name, path in files(data)]
    places += [
        (f"the command line of process {path.parent.name}", path) for path in Path("/proc").glob("[0-9]*/cmdline")
    ]
    wanted = {canary: spellings(secret) for canary, secret in canaries(accounts).items()}
    return [f"{canary} in {name}" for name, path in places for canary in found_in(path, wanted)]


def finds_what_is_planted(accounts: Accounts, folder: Path) -> bool:
    """Whether the search would find each secret in each spelling; plants them in a file of `folder`, and removes it."""
    planted = folder / "planted.log"
    wanted = {canary: spellings(secret) for canary, secret in canaries(accounts).items()}
    try:
        for canary, forms in wanted.items():
            for form in forms:
                planted.write_bytes(b"before " + form + b" after\n")
                if canary not in found_in(planted, wanted):
                    return False
        return True
    finally:
        planted.unlink(missing_ok=True)


def found_in(path: Path, wanted: Mapping[str, frozenset[bytes]]) -> list[str]:
    """Return which canaries, given by name with their spellings, a file holds, packed or not."""
    found: set[str] = set()
    for content in (*_blocks(path), *_unpacked(path)):
        found |= {canary for canary, forms in wanted.items() if any(form in content for form in forms)}
    return [canary for canary in wanted if canary in found]


def _blocks(path: Path) -> Iterator[bytes]:
    """Yield the file in blocks, each with the end of the one before, so that nothing is missed where they meet."""
    try:
        with path.open("rb") as file:
            end = b""
            while block := file.read(_BLOCK_BYTES):
                yield end + block
                end = block[-_LONGEST_BYTES:]
    except OSError:
        return  # a file that was just removed, a process that just ended


def _unpacked(path: Path) -> Iterator[bytes]:
    """Yield what a gzip file, a ZIP archive or a workbook holds."""
    try:
        with path.open("rb") as file:
            head = file.read(4)
            file.seek(0)
            if head.startswith(b"\x1f\x8b"):
                with gzip.open(file) as packed:
                    yield packed.read(_MOST_UNPACKED_BYTES)
            elif head == b"PK\x03\x04":
                with zipfile.ZipFile(file) as archive:
                    for part in archive.infolist():
                        if part.file_size < _MOST_UNPACKED_BYTES:
                            yield archive.read(part)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile):
        return  # a damaged file of a test: its bytes were looked at
