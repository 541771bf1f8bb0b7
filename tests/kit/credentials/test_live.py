"""Promises of the secrets in memory: newest first, in force between their times, used ones reported once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shoudan_kit.clock import TurnedClock
from shoudan_kit.credentials.kinds import CredentialKind, owner_mistake, pem
from shoudan_kit.credentials.live import USED_MAX, LiveSecret, LiveSecrets

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def one(number: int, **times: datetime) -> LiveSecret:
    return LiveSecret(number, "channel", "test", f"secret-{number}", **times)


def test_a_secret_is_in_force_from_its_first_moment_and_not_at_its_last() -> None:
    clock = TurnedClock(START)
    live = LiveSecrets(clock)
    live.replace([one(1, expire_time=START + HOUR), one(2, not_before=START + HOUR), one(3)])
    assert live.texts("channel", "test") == ("secret-3", "secret-1")
    clock.advance(3599)
    assert live.texts("channel", "test") == ("secret-3", "secret-1")
    clock.advance(1)
    assert live.texts("channel", "test") == ("secret-3", "secret-2")
    assert live.texts("channel", "other") == live.texts("notify", "test") == ()


def test_what_was_used_is_given_once_and_in_bounded_lots() -> None:
    live = LiveSecrets(TurnedClock(START))
    for number in (*range(USED_MAX + 5), 1, 2):
        live.use(number)
    lots = live.take_used(), live.take_used(), live.take_used()
    assert [len(lot) for lot in lots] == [USED_MAX, 5, 0]
    assert sorted(lots[0] + lots[1]) == list(range(USED_MAX + 5))


def test_a_secret_shows_itself_nowhere_but_by_name() -> None:
    assert "secret-1" not in repr(one(1))


@pytest.mark.parametrize(
    "secret",
    ["short", "with a space in it", "line\nbreak-and-more", "x" * 8193, "tab\tinside-of-it"],
)
def test_what_is_no_secret_of_one_line_is_refused(secret: str) -> None:
    assert CredentialKind("a", "b").secret_mistake(secret)


def test_a_key_in_pem_is_taken_where_it_may_be_one() -> None:
    text = "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----"
    assert not CredentialKind("a", "b", form=pem).secret_mistake(text)
    assert CredentialKind("a", "b").secret_mistake(text)


@pytest.mark.parametrize("owner", ["", "a b", "a|b", "a\0", "x" * 129, "a\n"])
def test_what_is_no_owner_is_refused(owner: str) -> None:
    assert owner_mistake(owner)
    assert not owner_mistake("partner/1001")
