"""What stands for Cloud Run in front of the functions: whom it lets through, and with what."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from google.auth import jwt

from infra.local.cloud_run import GCLOUD_AUDIENCE, CloudRun, RefusedError
from infra.local.emulators.identity import TokenSigner
from infra.local.settings import FUNCTIONS, SCHEDULER_SERVICE_ACCOUNT, TASKS_SERVICE_ACCOUNT

ADA = "ada@example.org"
SERVERLESS = "X-Serverless-Authorization"


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> TokenSigner:
    return TokenSigner(tmp_path_factory.mktemp("identity") / "key.pem")


@pytest.fixture(scope="module")
def front(signer: TokenSigner) -> CloudRun:
    return CloudRun(signer, {function: f"http://{function}" for function in FUNCTIONS})


def token(signer: TokenSigner, audience: str = "http://register", email: str = ADA, late_s: int = 0) -> str:
    return signer.id_token(audience, email, datetime.now(UTC) - timedelta(seconds=late_s))


def without_signature(token: str) -> str:
    return f"Bearer {token.rpartition('.')[0]}.SIGNATURE_REMOVED_BY_GOOGLE"


def test_the_function_gets_the_token_without_its_signature(front: CloudRun, signer: TokenSigner) -> None:
    sent = token(signer)
    seen = front.admitted("register", {"authorization": f"Bearer {sent}", "X": "1"})
    assert seen == {"authorization": without_signature(sent), "X": "1"}
    assert jwt.decode(seen["authorization"].split()[1], verify=False)["email"] == ADA  # type: ignore[no-untyped-call]


def test_the_serverless_header_is_checked_and_the_other_passes_as_it_is(front: CloudRun, signer: TokenSigner) -> None:
    sent = token(signer)
    for other in (f"Bearer {sent}", "Basic eDp5", without_signature(token(signer, email="boss@example.org"))):
        seen = front.admitted("register", {SERVERLESS: f"Bearer {sent}", "Authorization": other})
        assert seen == {SERVERLESS: without_signature(sent), "Authorization": other}
    with pytest.raises(RefusedError):
        front.admitted("register", {SERVERLESS: "Bearer x", "Authorization": f"Bearer {sent}"})


def test_gclouds_token_is_taken_and_no_token_passes(front: CloudRun, signer: TokenSigner) -> None:
    gcloud = token(signer, GCLOUD_AUDIENCE)
    assert front.admitted("register", {"Authorization": f"Bearer {gcloud}"}) == {
        "Authorization": without_signature(gcloud)
    }
    assert front.admitted("register", {"X": "1"}) == {"X": "1"}


def test_a_token_that_is_not_of_the_local_cloud_is_refused(
    front: CloudRun, signer: TokenSigner, tmp_path: Path
) -> None:
    good = token(signer)
    other_key = token(TokenSigner(tmp_path / "key.pem"))
    for sent in (other_key, without_signature(good).split()[1], good[:-4] + "AAAA", "x", ""):
        with pytest.raises(RefusedError) as refused:
            front.admitted("register", {"Authorization": f"Bearer {sent}"})
        assert refused.value.status == 401


def test_a_token_of_another_audience_or_time_or_form_is_refused(front: CloudRun, signer: TokenSigner) -> None:
    for header in (
        f"Bearer {token(signer, 'http://export')}",
        f"Bearer {token(signer, late_s=7200)}",
        f"Basic {token(signer)}",
        token(signer),
    ):
        with pytest.raises(RefusedError):
            front.admitted("register", {"Authorization": header})
    twice = {"Authorization": f"Bearer {token(signer)}", "authorization": f"Bearer {token(signer)}"}
    with pytest.raises(RefusedError, match="more than once"):
        front.admitted("register", twice)


@pytest.mark.parametrize(
    ("email", "functions"),
    [
        (ADA, {"register", "export", "refresh"}),
        (TASKS_SERVICE_ACCOUNT, {"export_worker", "refresh"}),
        (SCHEDULER_SERVICE_ACCOUNT, {"export_worker", "refresh"}),
    ],
)
def test_a_caller_without_the_binding_is_refused(
    front: CloudRun, signer: TokenSigner, email: str, functions: set[str]
) -> None:
    """As infra/terraform/callers.tf binds them."""
    for function in FUNCTIONS:
        headers = {"Authorization": f"Bearer {token(signer, f'http://{function}', email)}"}
        if function in functions:
            front.admitted(function, headers)
        else:
            with pytest.raises(RefusedError) as refused:
                front.admitted(function, headers)
            assert refused.value.status == 403
