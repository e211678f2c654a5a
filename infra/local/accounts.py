"""The demo accounts of the local cloud: random once per data folder, kept in `accounts.json` with mode 0600.

Every part of the local cloud reads its own half from here: the sandboxes know these clients and secrets, the
embedded Postgres creates these roles, and the demo registers connectors with them. Nothing here is valid
anywhere else.
"""

from __future__ import annotations

import json
import os
import secrets
import string
import uuid
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

POSTGRES_PORT_OFFSET = 15
DEFAULT_POSTGRES_PORT = 5432
_ALPHANUMERIC = string.ascii_letters + string.digits


@dataclass(frozen=True)
class EntraAccount:
    """A tenant and the one app registration (service principal) in it."""

    tenant_id: str
    client_id: str
    client_secret: str = field(repr=False)


@dataclass(frozen=True)
class PowerBiAccount:
    """A workspace that the service principal is a member of, and an import model in it that can be refreshed."""

    workspace_id: str
    refresh_dataset_id: str


@dataclass(frozen=True)
class GoogleAccount:
    """A service account's JSON key (all values strings) and a spreadsheet shared with that account."""

    service_account_key: dict[str, str] = field(repr=False)
    spreadsheet_id: str


@dataclass(frozen=True)
class LookerAccount:
    """An API key of the demo Looker instance and the names of what exists on it."""

    base_url: str
    client_id: str
    client_secret: str = field(repr=False)
    connection: str
    model: str
    view: str
    datagroup_id: str


@dataclass(frozen=True)
class WarehouseAccount:
    """The embedded Postgres: a load role, a reader role for Looker, and the administrator's password."""

    host: str
    port: int
    database: str
    schema: str
    user: str
    password: str = field(repr=False)
    reader_user: str
    reader_password: str = field(repr=False)
    admin_password: str = field(repr=False)


@dataclass(frozen=True)
class Accounts:
    """All demo accounts of one data folder."""

    entra: EntraAccount
    power_bi: PowerBiAccount
    google: GoogleAccount
    looker: LookerAccount
    warehouse: WarehouseAccount

    def to_dict(self) -> dict[str, Any]:
        """The content of `accounts.json`: one object per account, secrets included."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Accounts:
        """Rebuild from `to_dict()`.

        Raises:
            KeyError, TypeError: An account or a field is missing or unknown.
        """
        return cls(
            entra=EntraAccount(**data["entra"]),
            power_bi=PowerBiAccount(**data["power_bi"]),
            google=GoogleAccount(**data["google"]),
            looker=LookerAccount(**data["looker"]),
            warehouse=WarehouseAccount(**data["warehouse"]),
        )


def load_accounts(data: Path, port_base: int | None = None) -> Accounts:
    """Read the accounts of a data folder; make them (and the folder) on the first call.

    Safe when several processes of the local cloud start at once: one of them writes the file, all read it.

    Args:
        data: The data folder of the local cloud.
        port_base: Sets `warehouse.port` to this base + 15 in the file; None leaves the port as it is.

    Raises:
        ValueError: The file is not ours or damaged.
    """
    path = data / "accounts.json"
    if not path.exists():
        data.mkdir(parents=True, exist_ok=True)
        _create(path, _random_accounts())
    try:
        accounts = Accounts.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (KeyError, TypeError, ValueError) as exc:
        raise ValueError(f"{path} is not an accounts file of this version; move it away and start again") from exc
    port = accounts.warehouse.port if port_base is None else port_base + POSTGRES_PORT_OFFSET
    if port != accounts.warehouse.port:
        accounts = replace(accounts, warehouse=replace(accounts.warehouse, port=port))
        temporary = _write_temporary(path, accounts)
        temporary.replace(path)
    return accounts


def service_account_key(email: str, project: str) -> dict[str, str]:
    """A new JSON key file of a Google service account, with a fresh 2048-bit RSA key (about 0.1 s)."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return {
        "type": "service_account",
        "project_id": project,
        "private_key_id": secrets.token_hex(20),
        "private_key": pem,
        "client_email": email,
        "client_id": "1" + _digits(20),
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": "https://oauth2.googleapis.com/token",
        "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
        "client_x509_cert_url": f"https://www.googleapis.com/robot/v1/metadata/x509/{email.replace('@', '%40')}",
        "universe_domain": "googleapis.com",
    }


def random_entra_secret() -> str:
    """A new client secret in the shape of Entra ID's: 40 characters with `8Q~` after the third."""
    return _text(3) + "8Q~" + _text(34)


def _random_accounts() -> Accounts:
    project = "local-project"
    return Accounts(
        entra=EntraAccount(str(uuid.uuid4()), str(uuid.uuid4()), random_entra_secret()),
        power_bi=PowerBiAccount(str(uuid.uuid4()), str(uuid.uuid4())),
        google=GoogleAccount(
            service_account_key=service_account_key(f"bi-sheets@{project}.iam.gserviceaccount.com", project),
            spreadsheet_id="1" + _text(43),
        ),
        looker=LookerAccount(
            base_url="https://demo.cloud.looker.com",
            client_id=_text(20),
            client_secret=_text(24),
            connection="warehouse",
            model="volunteering",
            view="planes_summary",
            datagroup_id="volunteering_daily",
        ),
        warehouse=WarehouseAccount(
            host="127.0.0.1",
            port=DEFAULT_POSTGRES_PORT,
            database="analytics",
            schema="bi",
            user="bi_loader",
            password=_text(32),
            reader_user="looker_reader",
            reader_password=_text(32),
            admin_password=_text(32),
        ),
    )


def _text(length: int) -> str:
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(length))


def _digits(length: int) -> str:
    return "".join(secrets.choice(string.digits) for _ in range(length))


def _write_temporary(path: Path, accounts: Accounts) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(accounts.to_dict(), file, indent=2)
        file.write("\n")
    return temporary


def _create(path: Path, accounts: Accounts) -> None:
    temporary = _write_temporary(path, accounts)
    try:
        os.link(temporary, path)  # fails where another process was first: its accounts are then the accounts
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
