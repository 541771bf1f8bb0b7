"""Calls to the sandbox of a test system: what its supplier plays, what its inboxes have received."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from shoudan_kit.http.client import Answered, HttpClient
from shoudan_order.refusals import FieldInvalid, NoSandbox

CALL_S: Final = 2.0  # below what a page waits for this service
ANSWER_BYTES_MAX: Final = 8 * 2**20
LETTERS_MAX: Final = 50
OK: Final = 200
BAD_REQUEST: Final = 400

T = TypeVar("T")


class Script(msgspec.Struct, frozen=True):
    """One thing that the supplier can be made to do."""

    script: str
    about: str
    about_zh: str = ""


class Choice(msgspec.Struct, frozen=True):
    """A script that was chosen; `kind` is account, order or channel."""

    kind: str
    key: str
    script: str


class Choices(msgspec.Struct, frozen=True):
    """All scripts, and those chosen."""

    scripts: list[Script]
    choices: list[Choice]


class Letter(msgspec.Struct, frozen=True):
    """One request as it came."""

    time: float
    method: str
    query: str
    headers: dict[str, str]
    body: str


class Letters(msgspec.Struct, frozen=True):
    """What an inbox shows, oldest first."""

    received: int
    letters: list[Letter]


@dataclass(frozen=True, slots=True)
class Box:
    """An inbox with its address."""

    url: str
    shown: Letters


class SandboxClient:
    """The sandbox at `url`; none when it is empty."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._http = HttpClient("sandbox", total_s=CALL_S, body_bytes_max=ANSWER_BYTES_MAX)

    @property
    def there(self) -> bool:
        """Whether there is one."""
        return bool(self._url)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def choices(self) -> Choices:
        """What is played. Refuses NoSandbox."""
        return _read(await self._ask("GET", "/supplier/choices"), Choices)

    async def choose(self, choice: Choice) -> Choices:
        """Play so from now on. Refuses NoSandbox, FieldInvalid."""
        return _read(
            await self._ask("POST", "/supplier/choices", msgspec.json.encode(choice)), Choices
        )

    async def letters(self, channel_no: str) -> Box:
        """The last ones of a channel's inbox. Refuses NoSandbox."""
        path = f"/inbox/{quote(channel_no, safe='')}"
        asked = urlencode({"format": "json", "last": LETTERS_MAX})
        shown = _read(await self._ask("GET", f"{path}?{asked}"), Letters)
        return Box(f"{self._url}{path}", shown)

    async def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        if not self.there:
            raise NoSandbox("none is configured, as in prod")
        result = await self._http.send(method, self._url + path, body=body)
        if isinstance(result, Answered) and result.status == BAD_REQUEST:
            raise FieldInvalid("script", "not one that the sandbox plays for such a key")
        if not isinstance(result, Answered) or result.status != OK:
            raise NoSandbox("it does not answer")
        return result.body


def _read(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError:
        raise NoSandbox("it answers what is no answer") from None
