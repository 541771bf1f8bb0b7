"""Standard Webhooks: the specification's own example, and what is not believed."""

from __future__ import annotations

import pytest

from shoudan_signing import webhooks
from shoudan_signing.webhooks import NotVerified

# The example of the specification's libraries.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID, STAMP, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def headers(**changes: str) -> dict[str, str]:
    return webhooks.signed([SECRET], ID, STAMP, BODY) | {
        name.replace("_", "-"): value for name, value in changes.items()
    }


def test_the_example_of_the_specification_is_signed_so() -> None:
    assert headers()["webhook-signature"] == SIGNATURE
    webhooks.verify([SECRET], headers(), BODY, STAMP)


def test_while_keys_are_exchanged_either_is_enough_and_names_are_of_either_case() -> None:
    made = webhooks.signed(["old", SECRET], ID, STAMP, BODY)
    upper = {name.upper(): value for name, value in made.items()}
    webhooks.verify([SECRET], upper, BODY, STAMP)
    webhooks.verify(["new", "old"], upper, BODY, STAMP)


@pytest.mark.parametrize(
    ("changes", "body", "now", "why"),
    [
        ({}, BODY + b" ", STAMP, "fits none"),
        ({"webhook_id": "msg_other"}, BODY, STAMP, "fits none"),
        ({"webhook_signature": "v1,AAAA"}, BODY, STAMP, "fits none"),
        ({"webhook_signature": "v2," + SIGNATURE.removeprefix("v1,")}, BODY, STAMP, "fits none"),
        ({"webhook_signature": ""}, BODY, STAMP, "without webhook-signature"),
        ({"webhook_timestamp": "soon"}, BODY, STAMP, "no number"),
        ({"webhook_timestamp": "１６"}, BODY, STAMP, "no number"),
        ({}, BODY, STAMP + 301, "301 s off"),
        ({}, BODY, STAMP - 301, "-301 s off"),
    ],
)
def test_what_does_not_fit_is_not_believed(
    changes: dict[str, str], body: bytes, now: int, why: str
) -> None:
    with pytest.raises(NotVerified, match=why):
        webhooks.verify([SECRET], headers(**changes), body, now)


def test_a_secret_that_is_no_base64_is_used_as_it_is_written() -> None:
    assert webhooks.is_malformed("whsec_*")
    assert not webhooks.is_malformed(SECRET)
    assert not webhooks.is_malformed("plain")
    assert webhooks.key_of("whsec_*") == b"whsec_*"
    assert webhooks.key_of("plain") == b"plain"


def test_the_stamp_may_be_off_by_the_tolerance_and_by_no_more() -> None:
    for now in (STAMP - 300, STAMP + 300):
        webhooks.verify([SECRET], headers(), BODY, now)
    webhooks.verify([SECRET], headers(), BODY, STAMP + 9, tolerance_s=9)
    with pytest.raises(NotVerified, match="10 s off"):
        webhooks.verify([SECRET], headers(), BODY, STAMP + 10, tolerance_s=9)


def test_each_header_is_needed_and_all_that_are_missing_are_named() -> None:
    for name in headers():
        with pytest.raises(NotVerified, match=f"without {name}$"):
            webhooks.verify([SECRET], {**headers(), name: ""}, BODY, STAMP)
    with pytest.raises(NotVerified, match="without webhook-id, webhook-timestamp, webhook-sig"):
        webhooks.verify([SECRET], {}, BODY, STAMP)


@pytest.mark.parametrize(
    ("stamp", "why"), [("9" * 13, "no number"), ("9" * 12, "cannot be signed"), ("-1", "no number")]
)
def test_a_stamp_beyond_all_years_is_not_believed(stamp: str, why: str) -> None:
    with pytest.raises(NotVerified, match=why):
        webhooks.verify([SECRET], headers(webhook_timestamp=stamp), BODY, STAMP, tolerance_s=10**13)


def test_a_body_that_is_no_text_is_not_believed() -> None:
    with pytest.raises(NotVerified, match="cannot be signed"):
        webhooks.verify([SECRET], headers(), b"\xff", STAMP)


def test_one_of_several_signatures_is_enough_and_without_a_secret_none_is() -> None:
    both = headers(webhook_signature=f"v1,AAAA {SIGNATURE}")
    webhooks.verify([SECRET], both, BODY, STAMP)
    with pytest.raises(NotVerified, match="none of 0"):
        webhooks.verify([], both, BODY, STAMP)


def test_a_secret_without_the_mark_is_used_as_it_is_written_even_if_it_could_be_base64() -> None:
    assert webhooks.key_of("c2VjcmV0") == b"c2VjcmV0"
    assert webhooks.key_of("whsec_c2VjcmV0") == b"secret"
