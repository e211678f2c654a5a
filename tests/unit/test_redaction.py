"""Secrets leave in no form."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

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


@settings(deadline=None)  # a busy machine is no fault
@given(st.text(st.sampled_from('\\\\\\%%/"uUbBfFnNrRtTxX019aAdD é😀\ud800'), max_size=40))
@example(r"C:\Temp")
@example(r"\u00e9\ud83d\ude00\ud83d")
def test_any_text_is_redacted_and_only_secrets_are(text: str) -> None:
    redaction.remember({"client_secret": "canary-secret-7"})
    assert redaction.redact(text) == text
    assert redaction.redact(f"{text} canary-secret-7 {text}") == f"{text} [redacted] {text}"


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


def _percent(text: str, digits: str) -> str:
    return "".join(f"%{byte:{digits}}" for byte in text.encode())


PEM_LINE = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcw"
ESCAPES: dict[str, Callable[[str], str]] = {
    "tilde": lambda secret: quote(secret, safe="").replace("~", "%7E"),
    "tilde, lower case": lambda secret: quote(secret, safe="").replace("~", "%7e"),
    "lower-case percent": lambda secret: re.sub("%..", lambda found: found.group().lower(), quote(secret, safe="")),
    "every letter, percent": lambda secret: _percent(secret, "02X"),
    "every letter, lower-case percent": lambda secret: _percent(secret, "02x"),
    "percent twice": lambda secret: quote(_percent(secret, "02x"), safe=""),
    "JSON with slashes escaped": lambda secret: json.dumps(secret)[1:-1].replace("/", r"\/"),
    "JSON of a template": lambda secret: json.dumps(secret)[1:-1].replace("=", r"\u003d").replace("+", r"\u002B"),
    "every letter, JSON": lambda secret: "".join(f"\\u{ord(letter):04x}" for letter in secret),
    "JSON in JSON": lambda secret: json.dumps(json.dumps(secret)[1:-1].replace("/", r"\/").replace("=", r"\u003D"))[
        1:-1
    ],
    "JSON in a URL": lambda secret: quote(json.dumps(secret)[1:-1].replace("=", r"\u003d"), safe=""),
}


@pytest.mark.parametrize("escape", ESCAPES.values(), ids=list(ESCAPES))
def test_a_secret_is_removed_however_it_is_escaped(escape: Callable[[str], str]) -> None:
    secret = "kanari/~+=é vogel=ß"
    redaction.remember({"client_secret": secret})
    said = f'before "{escape(secret)}" after %41 \\/ {escape(secret)}.'
    assert redaction.redact(said) == 'before "[redacted]" after %41 \\/ [redacted].'


def test_a_letter_of_two_escapes_of_json_is_read_as_one() -> None:
    redaction.remember({"client_secret": "bird-\U0001f426-of-gold"})
    assert redaction.redact(r"x bird-\ud83d\udc26-of-gold \ud83d y") == r"x [redacted] \ud83d y"


def test_what_is_escaped_and_no_secret_stays() -> None:
    redaction.remember({"client_secret": "kanari/~+=é vogel=ß"})
    for text in (r"100% of a\b \u00e9 \ud800 %zz %C3 %e2%82%ac C:\new \u12", "%41" * 50, "\\\\" * 9, "\\"):
        assert redaction.redact(text) == text


def test_a_line_of_a_key_is_removed_alone() -> None:
    pem = f"-----BEGIN PRIVATE KEY-----\n{PEM_LINE}\nwhole-line-of-the-key/+=\nshort=\n-----END PRIVATE KEY-----\n"
    redaction.remember({"service_account_key": {"private_key": pem}})
    assert redaction.redact(f"line 2: {PEM_LINE}!") == "line 2: [redacted]!"
    assert redaction.redact("whole-line-of-the-key%2f%2b%3d") == "[redacted]"
    assert redaction.redact("short= -----END PRIVATE KEY-----") == "short= -----END PRIVATE KEY-----"


def test_no_token_of_anybody_is_shown() -> None:
    token = "eyJhbGciOiJSUzI1NiJ9.eyJlbWFpbCI6ImFkYUBleGFtcGxlLm9yZyJ9.SIGNATURE_REMOVED_BY_GOOGLE"
    assert redaction.redact(f"X-Serverless-Authorization: Bearer {token}, x") == (
        "X-Serverless-Authorization: Bearer [redacted], x"
    )
    assert redaction.redact(f"wrong number of segments: {token}") == "wrong number of segments: [redacted]"
    assert redaction.redact("authorization: bearer ya29.an-opaque-token_0123") == "authorization: bearer [redacted]"
    assert redaction.redact("the bearer of this") == "the bearer of this"
