"""Promises of mails: one letter to all, known by its key, within limits, and every failure a reason."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import cast

import pytest

from shoudan_finance import alert_messages, alert_senders
from shoudan_finance.alert_senders import Senders
from shoudan_finance.alert_targets import Target
from shoudan_kit.clock import SystemClock

TO = ("one@corp.example", "two@corp.example")


@dataclass
class Post:
    """A mail server: what it took, and what it says to a recipient."""

    port: int = 0
    letters: list[bytes] = field(default_factory=list[bytes])
    recipients: list[str] = field(default_factory=list[str])
    to_recipient: str = "250 ok"
    greets: bool = True

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One conversation, of commands without extensions."""
        if self.greets:
            writer.write(b"220 here\r\n")
        while line := await reader.readline():
            word = line[:4].upper()
            answer = "250 ok"
            if word == b"RCPT":
                self.recipients.append(line.decode().strip())
                answer = self.to_recipient
            elif word == b"DATA":
                writer.write(b"354 go on\r\n")
                self.letters.append(await reader.readuntil(b"\r\n.\r\n"))
            elif word == b"QUIT":
                answer = "221 bye"
            writer.write(f"{answer}\r\n".encode())
            await writer.drain()
            if word == b"QUIT":
                break
        writer.close()


@pytest.fixture
async def post() -> AsyncIterator[Post]:
    made = Post()
    server = await asyncio.start_server(made.talk, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()


@pytest.fixture
async def senders() -> AsyncIterator[Senders]:
    made = Senders(SystemClock())
    yield made
    await made.aclose()


def target(post: Post) -> Target:
    return Target(
        "m", "mail", host="127.0.0.1", port=post.port, tls="none", sender="a@corp.example", to=TO
    )


async def test_a_mail_goes_to_all_and_is_known_by_its_key(post: Post, senders: Senders) -> None:
    message = alert_messages.of_test("m", "alert_1_2_3")
    assert await senders.send(target(post), message) == ""
    assert [one.rpartition(" ")[2].partition(":")[2] for one in post.recipients] == [
        f"<{one}>" for one in TO
    ]
    letter = cast(
        "EmailMessage",
        message_from_bytes(post.letters[0].removesuffix(b".\r\n"), policy=policy.default),
    )
    assert letter["Message-ID"] == "<alert_1_2_3@corp.example>"
    assert letter["Subject"] == "收单预警测试"
    assert letter["Date"] is not None
    assert letter.get_content().strip() == message.text


async def test_who_refuses_or_is_away_is_a_reason(
    post: Post, senders: Senders, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = alert_messages.of_test("m", "k")
    post.to_recipient = "550 no such box"
    assert await senders.send(target(post), message) == "SMTP: recipients refused"
    post.greets = False
    monkeypatch.setattr(alert_senders, "CALL_S", 0.2)
    assert await senders.send(target(post), message) == "SMTP: SMTPServerDisconnected"
    post.port = 1
    assert await senders.send(target(post), message) == "SMTP: ConnectionRefusedError"


async def test_a_robot_that_is_away_is_a_reason(senders: Senders) -> None:
    robot = Target("r", "wecom", url="http://127.0.0.1:1/")
    assert await senders.send(robot, alert_messages.of_test("r", "k"))
