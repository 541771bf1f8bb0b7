"""Lists of some shards: a caller names one, or takes what there is while others are away, and learns which.

In the metadata of a call, so that every list has it and no message changes. A call without it is answered
whole or not at all, as services need it; commands ask so, because people look.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from typing import Any, Final

from grpc import aio

from shoudan_kit.rpc.messages import RpcContext

SHARD: Final = "shoudan-shard"  # this one alone
PARTIAL: Final = "shoudan-partial"  # without those that are away
MISSING: Final = "shoudan-missing-shards"  # of the answer: those it is without

Say = Callable[[str], None]


class ShardUnknown(ValueError):
    """What is asked for is no number of a shard."""


def wanted(context: RpcContext, shards: int) -> tuple[Collection[int], bool]:
    """The shards that a list is asked of, and whether it may be without those that are away.

    Raises ShardUnknown.
    """
    given: dict[str, Any] = dict(context.invocation_metadata() or ())
    named = given.get(SHARD)
    if named is None:
        return range(shards), PARTIAL in given
    text = str(named)
    if not (text.isascii() and text.isdigit() and len(text) < 4 and int(text) < shards):
        raise ShardUnknown(f"{SHARD} is from 0 to {shards - 1}")
    return (int(text),), False


_asked: list[tuple[tuple[str, str], Say]] = []


@contextmanager
def looking(shard: int | None, say: Say) -> Generator[None]:
    """For commands alone: lists of channels opened meanwhile are of this shard, or of those that answer;
    `say` is given which do not."""
    entry = (PARTIAL, "1") if shard is None else (SHARD, str(shard))
    _asked.append((entry, say))
    try:
        yield
    finally:
        _asked.pop()


def looks() -> list[aio.ClientInterceptor]:
    """What adds it to the calls of a channel."""
    return [Look(*_asked[-1])] if _asked else []


class Look(aio.UnaryUnaryClientInterceptor):
    """Says of which shards a list is to be, and which it is without."""

    def __init__(self, entry: tuple[str, str], say: Say) -> None:
        self._entry, self._say, self._said = entry, say, set[str]()

    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        """The library's interface."""
        metadata = aio.Metadata(*(client_call_details.metadata or ()), self._entry)
        call = await continuation(client_call_details._replace(metadata=metadata), request)
        trailing: dict[str, Any] = dict(await call.trailing_metadata() or ())
        missing = str(trailing.get(MISSING, ""))
        if missing and missing not in self._said:  # once, however many pages there are
            self._said.add(missing)
            self._say(f"shard {missing} is away: what is there is missing here")
        return call
