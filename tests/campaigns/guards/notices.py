"""Guards of channels and of the notices that go to them."""

from __future__ import annotations

from tests.campaigns.guards.guard import Guard

CHANNELS, FORMS = "shared/services/channels.py", "shared/services/notice_forms.py"
_CHANNELS, _NOTICES = "tests/functional/test_channels.py::", "tests/functional/test_notices.py::"

NOTICES = (
    Guard(
        "a channel's URL may be called",
        CHANNELS,
        "host = self._outgoing.require(body.url)",
        "host = body.url.split('/')[2]",
        _CHANNELS + "test_a_url_that_may_not_be_called_is_refused_and_nothing_kept",
    ),
    Guard(
        "a refusal repeats nothing of a URL",
        "shared/connectors/_outgoing.py",
        'f"this URL may not be called, and is not repeated',
        'f"{url} may not be called, and is not repeated',
        _CHANNELS + "test_a_refusal_does_not_repeat_the_path_which_may_be_a_secret",
    ),
    Guard(
        "no URL of a channel is in Firestore",
        CHANNELS,
        "host=host, created_at=created_at",
        "host=body.url, created_at=created_at",
        _CHANNELS + "test_url_and_secret_are_in_secret_manager_alone",
    ),
    Guard(
        "a channel changes only as it was read",
        CHANNELS,
        "if version is not None and (found is None or found.version != version):",
        "if False:",
        _CHANNELS + "test_a_channel_that_changed_since_it_was_read_is_not_replaced_nor_deleted",
    ),
    Guard(
        "a channel's secrets go with it",
        CHANNELS,
        "        delete_unless_named(self._stores, self._secret_id(name))\n",
        "",
        _CHANNELS + "test_deleting_a_channel_deletes_its_secrets",
    ),
    Guard(
        "a channel's former secrets are destroyed",
        CHANNELS,
        '            self._stores.secrets.destroy(before.data["credentials"])\n',
        "            pass\n",
        _CHANNELS + "test_the_same_secret_again_makes_no_version_and_another_destroys_the_former",
    ),
    Guard(
        "unused secrets of channels are swept",
        "shared/services/credentials.py",
        '"channel": "channels"',
        '"channel-": "channels"',
        _CHANNELS + "test_a_put_that_dies_before_its_document_leaves_no_secret_for_over_an_hour",
    ),
    Guard(
        "a receiver's words show no secret",
        CHANNELS,
        '    remember({**secrets, **({"behind": behind} if len(behind) >= LONG_PATH else {})})\n',
        "",
        _NOTICES + "test_what_a_receiver_says_never_shows_a_secret",
    ),
    Guard(
        "no log line shows a channel's URL",
        "shared/bootstrap.py",
        "hides_path=True",
        "hides_path=False",
        _NOTICES + "test_no_log_line_shows_a_url_that_is_a_secret",
    ),
    Guard(
        "a notice is signed",
        FORMS,
        'hmac.new(secret.encode(), f"{at}.".encode() + body',
        'hmac.new(b"", f"{at}.".encode() + body',
        _NOTICES + "test_a_webhook_gets_the_notice_signed_at_the_time_of_sending",
    ),
    Guard(
        "a notice's time is signed",
        FORMS,
        'f"{at}.".encode() + body',
        "body",
        _NOTICES + "test_the_signature_is_of_timestamp_and_body_by_hmac_sha256",
    ),
    Guard(
        "a message of Slack makes no link and calls nobody",
        FORMS,
        '.replace("<", "&lt;")',
        "",
        _NOTICES + "test_slack_gets_a_message_that_links_nowhere_and_calls_nobody",
    ),
)
