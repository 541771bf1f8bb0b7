"""What other services have to say to a channel: signed as its notifies are, sent once for each call.

Who calls keeps what was not acknowledged and calls again, so nothing of it is stored here. Endpoints of the
channel are owed it, too: once for each key, however often it is called.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, cast

import orjson

from shoudan_kit.http.client import Answered
from shoudan_order import notify_words
from shoudan_order.context import Context
from shoudan_order.endpoint_events import OF_NOTICES, owe

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
    if channel is None or not channel.enabled:
        return NoticeResult.NO_ADDRESS, "no address"
    if not notice.body:
        known = bool(channel.notice_url) or _is_wanted(context, notice.channel_no)
        return (NoticeResult.HAS_ADDRESS, "") if known else (NoticeResult.NO_ADDRESS, "no address")
    owed = await _owe(context, notice)
    if not channel.notice_url:
        return (NoticeResult.ACKNOWLEDGED, "") if owed else (NoticeResult.NO_ADDRESS, "no address")
    headers = {"Content-Type": "application/json"}
    if secrets := context.notify_secrets(channel):
        timestamp = int(context.app.wall_clock.now().timestamp())
        headers |= notify_words.signed(secrets, notice.key, timestamp, notice.body)
    outcome = await context.notifier.through(channel).send(
        "POST", channel.notice_url, headers=headers, body=notice.body
    )
    if notify_words.acknowledged(outcome):
        return NoticeResult.ACKNOWLEDGED, ""
    said = f"HTTP {outcome.status}" if isinstance(outcome, Answered) else outcome.reason
    return NoticeResult.NOT_ACKNOWLEDGED, said[:ANSWER_CHARS_MAX]


def _is_wanted(context: Context, channel_no: str) -> bool:
    """Whether an endpoint of the channel takes any notice."""
    there = context.catalogue.endpoints_of.get(channel_no, ())
    return any(one.wants(event) for one in there for event in OF_NOTICES.values())


async def _owe(context: Context, notice: Notice) -> int:
    """Owe a notice to the endpoints of its channel that want it; how many do. Repeats owe nothing more."""
    if notice.channel_no not in context.catalogue.endpoints_of:
        return 0
    said = cast("dict[str, Any]", orjson.loads(notice.body))  # an object, as rpc has checked
    event = OF_NOTICES.get(str(said.get("event", "")))
    if event is None:
        return 0
    async with context.app.work("endpoint.owe_notice") as work:
        return owe(context, work, (event, notice.key), {**said, "channel_no": notice.channel_no})
