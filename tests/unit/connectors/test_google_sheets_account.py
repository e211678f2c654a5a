"""A service account's key is checked before anything is signed with it."""

from __future__ import annotations

import pytest

from infra.local.accounts import service_account_key
from shared.connectors.google_sheets.account import SCOPES, credentials_of
from shared.errors import CredentialError


@pytest.fixture(scope="module")
def key() -> dict[str, str]:
    return service_account_key("exports@local-project.iam.gserviceaccount.com", "local-project")


@pytest.mark.parametrize(
    "token_uri",
    [
        "https://collector.example.org/token",
        "http://oauth2.googleapis.com/token",
        "https://oauth2.googleapis.com.example.org/token",
        "https://oauth2.googleapis.com/token?to=https://collector.example.org",
        "",
        None,
    ],
)
def test_a_key_that_asks_elsewhere_than_at_google_for_tokens_is_refused(
    key: dict[str, str], token_uri: str | None
) -> None:
    """An assertion that the account signed would go there, by a call that no list of hosts holds."""
    with pytest.raises(CredentialError, match="unknown token_uri"):
        credentials_of({**key, "token_uri": token_uri})


@pytest.mark.parametrize("kind", ["authorized_user", "external_account", None])
def test_what_is_no_service_accounts_key_is_refused(key: dict[str, str], kind: str | None) -> None:
    """Credentials of other types name commands to run, files to read and addresses to call."""
    with pytest.raises(CredentialError, match="is not a service account's JSON key"):
        credentials_of({**key, "type": kind})


def test_a_key_as_google_makes_it_gets_the_scope_of_spreadsheets_alone(key: dict[str, str]) -> None:
    assert credentials_of(key).scopes == SCOPES
