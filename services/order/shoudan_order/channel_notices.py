"""What other services have to say to a channel: signed as its notifies are, sent once for each call.

Who calls keeps what was not acknowledged and calls again, so nothing of it is stored here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from shoudan_kit.http.client import Answered
from shoudan_order import notify_words
from shoudan_order.context import Context

ANSWER_CHARS_MAX: Final = 256


class NoticeResult(IntEnum):
    """What became of a notice; the numbers are the contract's."""

    ACKNOWLEDGED = 1
    NOT_ACKNOWLEDGED = 2
    NO_ADDRESS = 3
    HAS_ADDRESS = 4


@dataclass(frozen=True, slots=True)
class Notice:
    """What is to be said, and by which key it is known however often it is sent."""

    channel_no: str
    key: str
    body: bytes


async def send(context: Context, notice: Notice) -> tuple[NoticeResult, str]:
    """Send a notice once: what became of it, and what was answered."""
    channel = context.catalogue.down_channels.get(notice.channel_no)
    if channel is None or not channel.enabled or not channel.notice_url:
        return NoticeResult.NO_ADDRESS, "no address"
    if not notice.body:
        return NoticeResult.HAS_ADDRESS, ""
    headers = {"Content-Type": "application/json"}
    if secrets := context.notify_secrets(channel):
        timestamp = int(context.app.clock.now().timestamp())
        headers |= notify_words.signed(secrets, notice.key, timestamp, notice.body)
    outcome = await context.notifier.through(channel).send(
        "POST", channel.notice_url, headers=headers, body=notice.body
    )
    if notify_words.acknowledged(outcome):
        return NoticeResult.ACKNOWLEDGED, ""
    said = f"HTTP {outcome.status}" if isinstance(outcome, Answered) else outcome.reason
    return NoticeResult.NOT_ACKNOWLEDGED, said[:ANSWER_CHARS_MAX]
