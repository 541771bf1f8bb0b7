"""Saying something to the staff: over HTTP to robots and webhooks, over SMTP by mail; once, within a time."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final

from shoudan_finance import alert_messages
from shoudan_finance.alert_messages import Message
from shoudan_finance.alert_targets import Target
from shoudan_kit.clock import Clock
from shoudan_kit.http.client import HttpClient

CALL_S: Final = 10.0
MAILS_MAX: Final = 4  # at once: each takes a thread
MAIL_S: Final = 30.0  # a whole conversation; each of its steps has CALL_S
ANSWER_CHARS_MAX: Final = 256


class Senders:
    """How the staff is reached."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._http: HttpClient | None = None
        self._mails = asyncio.Semaphore(MAILS_MAX)

    async def send(self, target: Target, message: Message) -> str:
        """Say it once: why it did not get there, or nothing when it did."""
        if target.kind == "mail":
            return (await self._mail(target, message))[:ANSWER_CHARS_MAX]
        now_ms = int(self._clock.now().timestamp()) * 1000
        call = alert_messages.call(target, message, now_ms)
        if self._http is None:
            self._http = HttpClient("alert", total_s=CALL_S)
        outcome = await self._http.send("POST", call.url, headers=call.headers, body=call.body)
        return alert_messages.refusal(target, outcome)[:ANSWER_CHARS_MAX]

    async def aclose(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.aclose()

    async def _mail(self, target: Target, message: Message) -> str:
        letter = letter_of(target, message)
        letter["Date"] = format_datetime(self._clock.now())
        try:
            async with asyncio.timeout(MAIL_S), self._mails:
                await asyncio.to_thread(_deliver, target, letter)
        except smtplib.SMTPResponseException as error:
            return f"SMTP {error.smtp_code}"
        except smtplib.SMTPRecipientsRefused:
            return "SMTP: recipients refused"
        except (smtplib.SMTPException, OSError) as error:  # also a time-out
            return f"SMTP: {type(error).__name__}"
        return ""


def letter_of(target: Target, message: Message) -> EmailMessage:
    """The mail, without its date; its Message-ID is made of the key, so that a repeat is known as one."""
    letter = EmailMessage()
    letter["Subject"] = message.title
    letter["From"] = Address(addr_spec=target.sender)
    letter["To"] = [Address(addr_spec=one) for one in target.to]
    letter["Message-ID"] = f"<{message.key}@{target.sender.rpartition('@')[2]}>"
    letter["Auto-Submitted"] = "auto-generated"
    letter.set_content(message.text)
    return letter


def _deliver(target: Target, letter: EmailMessage) -> None:
    context = ssl.create_default_context()
    if target.tls == "tls":
        server: smtplib.SMTP = smtplib.SMTP_SSL(
            target.host, target.port, timeout=CALL_S, context=context
        )
    else:
        server = smtplib.SMTP(target.host, target.port, timeout=CALL_S)
    with server:
        if target.tls == "starttls":
            server.starttls(context=context)
        if target.user:
            server.login(target.user, target.password)
        server.send_message(letter)
