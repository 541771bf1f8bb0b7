"""Calls of a down channel over HTTP, signed where it has a key: what partners' own commands are made of."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlencode

import aiohttp
import msgspec

from shoudan_cli.clients import Failed
from shoudan_signing import channel as signing

KEY_VARIABLE: Final = "SHOUDAN_SIGN_KEY"
TIMEOUT_S: Final = 30
ANSWER_SHOWN_MAX: Final = 200


def key_of(file: Path | None) -> bytes:
    """The channel's secret from a file, else from the environment; empty for a channel that does not sign."""
    if file is not None:
        return file.read_text("utf-8").strip().encode()
    return os.environ.get(KEY_VARIABLE, "").encode()


class ChannelCalls:
    """`async with ChannelCalls(url, "test") as calls:` asks as that channel."""

    def __init__(self, url: str, channel_no: str, key: bytes = b"") -> None:
        self.url, self.channel_no, self._key = url.rstrip("/"), channel_no, key

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        self._http = aiohttp.ClientSession(timeout=timeout, trust_env=False)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.close()

    def address(self, path: str, **params: object) -> str:
        """The whole address of a call, signed."""
        given = {"channel_no": self.channel_no, **{k: str(v) for k, v in params.items()}}
        if self._key:
            given |= {"sign_type": signing.HMAC_SHA256_V2, "timestamp": str(int(time.time()))}
            given["nonce"] = secrets.token_hex(16)
            sign = signing.HMACS[signing.HMAC_SHA256_V2]("GET", path, given, b"", self._key)
            given["sign"] = sign
        return f"{self.url}{path}?{urlencode(given, quote_via=quote)}"

    async def get(self, path: str, **params: object) -> tuple[int, dict[str, Any]]:
        """HTTP status and body. Raises Failed where no JSON comes: then the outcome is unknown."""
        try:
            async with self._http.get(self.address(path, **params)) as answer:
                body = await answer.read()
                return answer.status, msgspec.json.decode(body, type=dict[str, Any])
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
            raise Failed(f"{path}: no JSON came, the outcome is unknown ({error})") from None

    async def asked(self, path: str, **params: object) -> dict[str, Any]:
        """The body of a success. Raises Failed with what was refused."""
        status, body = await self.get(path, **params)
        if status != 200:
            raise Failed(f"{path}: HTTP {status} {str(body)[:ANSWER_SHOWN_MAX]}")
        return body
