"""The sandbox of a test system as people use it: scripts of its supplier, letters with their signatures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from shoudan_kit.audit_log.entries import describe
from shoudan_order.context import Context
from shoudan_order.sandbox_client import LETTERS_MAX, Choice, Choices, Letter, SandboxClient
from shoudan_signing import webhooks

Worth = Literal["none", "right", "wrong", "unchecked"]
LINES_MAX: Final = 50
BODY_CHARS_MAX: Final = 4_000
LINE_CHARS_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Checked:
    """A letter, and what its signature is worth."""

    letter: Letter
    worth: Worth
    mistake: str

    @property
    def headers(self) -> str:
        """As lines."""
        lines = [f"{name}: {value}"[:LINE_CHARS_MAX] for name, value in self.letter.headers.items()]
        return "\n".join(lines[:LINES_MAX])


@dataclass(frozen=True, slots=True)
class Inbox:
    """What a channel's inbox has received, newest first."""

    url: str
    received: int
    letters: list[Checked]


async def choose(client: SandboxClient, choice: Choice) -> Choices:
    """Let the supplier play so. Refuses NoSandbox, FieldInvalid."""
    before = await client.choices()
    after = await client.choose(choice)
    subject = f"sandbox {choice.kind}"
    describe(subject, choice.key, {"script": _script(before, choice)}, {"script": choice.script})
    return after


def _script(choices: Choices, wanted: Choice) -> str:
    there = (
        one.script for one in choices.choices if (one.kind, one.key) == (wanted.kind, wanted.key)
    )
    return next(there, "")


async def inbox(context: Context, client: SandboxClient, channel_no: str) -> Inbox:
    """The letters of a channel, checked with the keys that it has now. Refuses NoSandbox."""
    box = await client.letters(channel_no)
    secrets = _secrets(context, channel_no)
    letters = [_checked(one, secrets) for one in box.shown.letters[: -LETTERS_MAX - 1 : -1]]
    return Inbox(box.url, box.shown.received, letters)


def _secrets(context: Context, channel_no: str) -> list[str]:
    """Whatever the channel's notifies may be signed with."""
    catalogue = context.catalogue
    channel = catalogue.down_channels.get(channel_no)
    if channel is None:
        return []
    endpoints = [one for one in catalogue.notify_endpoints.values() if one.channel_no == channel_no]
    found = [*context.notify_secrets(channel)]
    found += [text for one in endpoints for text in context.endpoint_secrets(one, channel)]
    return list(dict.fromkeys(found))


def _checked(letter: Letter, secrets: list[str]) -> Checked:
    if not any(name.lower() == webhooks.SIGNATURE for name in letter.headers):
        return Checked(letter, "none", "")
    if not secrets:
        return Checked(letter, "unchecked", "")
    try:
        webhooks.verify(secrets, letter.headers, letter.body.encode(), int(letter.time))
    except webhooks.NotVerified as error:
        return Checked(letter, "wrong", str(error))
    return Checked(letter, "right", "")
