"""Secrets leave in no form."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from shared import redaction


def test_every_form_of_a_remembered_secret_is_removed() -> None:
    secret = 'canary/+"\n secret=1'
    redaction.remember({"client_secret": secret, "nested": {"password": "another-canary-9"}})
    forms = [
        secret,
        json.dumps(secret),
        json.dumps(json.dumps(secret)),
        quote(secret, safe=""),
        quote_plus(secret),
        base64.b64encode(secret.encode()).decode(),
        "pw=another-canary-9",
    ]
    for form in forms:
        assert "canary" not in redaction.redact(f"before {form} after")
        assert "[redacted]" in redaction.redact(f"before {form} after")


@pytest.mark.parametrize("before", ["", "u", "us", "user:"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_of_a_longer_text_shows_nothing_of_the_secret(before: str, encode: Callable[[bytes], bytes]) -> None:
    secret = "canary?of>basic~auth"
    redaction.remember({"client_secret": secret})
    left = redaction.redact(encode(f"{before}{secret}:after".encode()).decode()).replace("[redacted]", "")
    assert len(left) <= len(encode(f"{before}::after".encode())) + 4


def test_short_values_and_other_text_stay() -> None:
    redaction.remember({"client_secret": "abc"})
    assert redaction.redact("abc is a word") == "abc is a word"


def test_only_the_secret_members_of_a_key_file_are_removed() -> None:
    key = {"type": "service_account", "private_key": "-----BEGIN canary-----", "universe_domain": "googleapis.example"}
    redaction.remember({"service_account_key": key})
    assert (
        redaction.redact("sheets.googleapis.example -----BEGIN canary-----") == "sheets.googleapis.example [redacted]"
    )
