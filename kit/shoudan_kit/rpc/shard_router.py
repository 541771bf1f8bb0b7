"""The router before the shards of a process: each request goes where the contract says, in this process.

It stands where a server stands while servicers register, once for each shard, and registers their methods at
the real server as one. Callers, rights, deadlines and the audit log stand before it, as before any servicer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any, Final, TypeAlias

import grpc
from grpc import StatusCode as Code

from shoudan_kit import log
from shoudan_kit.db.errors import away, unconnected
from shoudan_kit.db.pinned_keys import NONE, PinnedKeys
from shoudan_kit.db.pool import OTHERS_WAIT
from shoudan_kit.rpc import shard_looks, shard_pages
from shoudan_kit.rpc.message_keys import ShardsDiffer
from shoudan_kit.rpc.messages import RpcContext
from shoudan_kit.rpc.refusal import KitRefusal, Refusal, Refused
from shoudan_kit.rpc.shard_looks import ShardUnknown
from shoudan_kit.rpc.shard_pages import TokenInvalid, every
from shoudan_kit.rpc.shard_routes import Route, added, route_of

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # generic in the stubs only
Methods = dict[tuple[str, str], Handler]
SHARDS: Final = "shards"  # the field of an answer about one shard that says how many there are
REFUSAL: Final = "refusal"  # the field of an item's answer that says why not

_log = log.get_logger("shards")


class ShardAway(KitRefusal, code=Code.UNAVAILABLE):
    """The database of a shard does not answer; requests of other shards are answered. Repeat by its key."""

    shard: int


class NotForShards(KitRefusal, code=Code.UNIMPLEMENTED):
    """The method cannot be answered by a service with several shards."""

    method: str


class _Capture:
    """Stands for the server while the servicers of one shard register."""

    def __init__(self, methods: Methods) -> None:
        self._methods = methods

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """The same methods without their names."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """The methods of one service."""
        self._methods |= {(service, name): one for name, one in handlers.items()}


class Router:
    """The methods of every shard of one process. The first is added before it registers, others when open."""

    def __init__(self, shards: int, pinned: PinnedKeys = NONE) -> None:
        self.pinned = pinned
        self._shards: list[Methods] = [{} for _ in range(shards)]
        self.resting: set[int] = set()  # found away by a request, and not proved to answer since
        self.on_rest: Callable[[int], None] = _ignore  # proves it until it does, then wakes it

    def add(self, shard: int, registers: Iterable[Callable[[Any], None]]) -> None:
        """The servicers of one shard; it is routed to from now on."""
        methods: Methods = {}
        for register in registers:
            register(_Capture(methods))
        self._shards[shard] = methods

    def register(self, server: Any) -> None:
        """Add every method of the first shard to a server, as one of all shards."""
        services: dict[str, dict[str, Handler]] = {}
        for (service, name), handler in self._shards[0].items():
            services.setdefault(service, {})[name] = self._routed(service, name, handler)
        for service, handlers in services.items():
            server.add_registered_method_handlers(service, handlers)

    def _routed(self, service: str, name: str, handler: Handler) -> Handler:
        coders = (handler.request_deserializer, handler.response_serializer)
        call = _Call(self, (service, name), route_of(service, name))
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(call.stream, *coders)
        return grpc.unary_unary_rpc_method_handler(call.unary, *coders)

    @property
    def count(self) -> int:
        """How many shards there are."""
        return len(self._shards)

    def method(self, shard: int, name: tuple[str, str]) -> Handler:
        """A shard's own method. Raises ShardAway before it is open, and at once while its database is known
        to be away: each try would take seconds, and requests of others in the same batch wait for it."""
        found = self._shards[shard].get(name)
        if found is None or shard in self.resting:
            raise ShardAway(shard)
        return found

    def rest(self, shard: int, error: BaseException) -> None:
        """Refuse what is for a shard until its database is proved to answer, where none of its hosts did."""
        if unconnected(error) and shard not in self.resting:
            self.resting.add(shard)
            _log.warning("shard_rests", shard=shard)
            self.on_rest(shard)

    def wake(self, shard: int) -> None:
        """Its database answers."""
        self.resting.discard(shard)
        _log.info("shard_wakes", shard=shard)


def _ignore(_: int) -> None:
    """A router whose shards are not proved."""


class _Call:
    """One method over all shards."""

    def __init__(self, router: Router, name: tuple[str, str], route: Route | None) -> None:
        self._router, self._name, self._known = router, name, route

    @property
    def _route(self) -> Route:
        """What the contract says. Raises NotForShards when it says nothing."""
        if self._known is None:
            raise NotForShards(self._name[1])
        return self._known

    async def unary(self, request: Any, context: RpcContext) -> Any:
        """The answer of one shard, or those of several put together."""
        route, shards = self._route, self._router.count
        if route.items:
            return await self._split(request, context)
        if route.parts:
            parts = route.split(request, shards, self._router.pinned)
            return added(
                await every(self._ask(context, *one) for one in sorted(parts.items())), route
            )
        if route.named:
            return await self._one(request, context, route)
        shard = route.shard(request, shards, self._router.pinned)
        if shard is not None:
            return await self._ask(context, shard, request)
        if route.owner is None:
            return await self._all(request, context, partial(self._ask, context))
        there = _There(partial(self._ask, context), route)
        answer = await self._all(request, context, there.ask)
        if len(there.missing) == shards:
            raise there.missing[0]
        return answer

    async def _all(self, request: Any, context: RpcContext, ask: shard_pages.Ask) -> Any:
        """The answers of all shards put together."""
        route, shards = self._route, self._router.count
        if route.joined:
            return await shard_pages.joined(route, request, shards, ask)
        if route.paged:
            try:
                return await self._page(request, context, ask)
            except TokenInvalid:
                words = "page_token is not one of ours"
                return await context.abort(Code.INVALID_ARGUMENT, words)
            except ShardUnknown as error:
                return await context.abort(Code.INVALID_ARGUMENT, str(error))
        answers = await every(ask(one, request) for one in range(shards))
        whole = added([one for one in answers if one.ByteSize()] or answers[:1], route)
        if route.order:
            listed = getattr(whole, route.listed)
            listed.sort(key=route.place)
        return whole

    async def _page(self, request: Any, context: RpcContext, ask: shard_pages.Ask) -> Any:
        """A page of the shards that the caller wants. Raises TokenInvalid, ShardUnknown, ShardAway."""
        route, shards = self._route, self._router.count
        only, partial_ = shard_looks.wanted(context, shards)
        if not partial_:
            return await shard_pages.page(route, request, shards, ask, only)
        away: dict[int, ShardAway] = {}

        async def of_those_there(shard: int, part: Any) -> Any:
            try:
                return await ask(shard, part)
            except ShardAway as gone:
                away[shard] = gone
                return route.answer()

        whole = await shard_pages.page(route, request, shards, of_those_there, only)
        if len(away) == shards:
            raise away[0]
        if away:
            missing = ",".join(str(one) for one in sorted(away))
            context.set_trailing_metadata(((shard_looks.MISSING, missing),))
        return whole

    async def stream(self, request: Any, context: RpcContext) -> AsyncIterator[Any]:
        """The answers of one shard, of one after the other, or those of all in the order of their items."""
        router, route = self._router, self._route
        if route.named:
            async for answer in self._stream_one(request, context, route):
                yield answer
            return
        if route.items:
            for shard, part in _runs(route, request, router):
                async for answer in _begun(router.method(shard, self._name), part, context):
                    yield answer
            return
        shard = route.shard(request, router.count, router.pinned)
        numbers = range(router.count) if shard is None else (shard,)
        handlers = {one: router.method(one, self._name) for one in numbers}
        begun = {one: _begun(handler, request, context) for one, handler in handlers.items()}
        if shard is not None:
            async for answer in begun[shard]:
                yield answer
            return
        merged = shard_pages.lines if route.lines else shard_pages.stream
        async for answer in merged(route, begun):
            yield answer

    async def _stream_one(
        self, request: Any, context: RpcContext, route: Route
    ) -> AsyncIterator[Any]:
        """The answers of the shard that the request names."""
        shard, asked = await self._named(request, context, route)
        async for answer in _begun(self._router.method(shard, self._name), asked, context):
            yield self._counted(answer)

    async def _one(self, request: Any, context: RpcContext, route: Route) -> Any:
        """The answer of the shard that the request names; it is asked as if it were the only one."""
        shard, asked = await self._named(request, context, route)
        return self._counted(await self._ask(context, shard, asked))

    async def _named(self, request: Any, context: RpcContext, route: Route) -> tuple[int, Any]:
        """The shard that the request names, and the request for it."""
        shard, count = getattr(request, route.named), self._router.count
        if not 0 <= shard < count:
            await context.abort(Code.INVALID_ARGUMENT, f"{route.named} is from 0 to {count - 1}")
        asked = type(request)()
        asked.CopyFrom(request)
        asked.ClearField(route.named)
        return shard, asked

    def _counted(self, answer: Any) -> Any:
        """The answer of a shard, with how many there are."""
        if SHARDS in answer.DESCRIPTOR.fields_by_name:
            setattr(answer, SHARDS, self._router.count)
        return answer

    async def _ask(self, context: RpcContext, shard: int, request: Any) -> Any:
        handler: Any = self._router.method(shard, self._name)
        token = OTHERS_WAIT.set(True)
        try:
            return await handler.unary_unary(request, context)
        except Exception as error:
            if away(error):
                self._router.rest(shard, error)
                raise ShardAway(shard) from error
            raise
        finally:
            OTHERS_WAIT.reset(token)

    async def _split(self, request: Any, context: RpcContext) -> Any:
        """Each item to its shard, the answers in the order of the items."""
        route, items = self._route, getattr(request, self._route.items)
        places, differing = self._places(items)
        if len(places) <= 1 and not differing:
            return await self._ask(context, next(iter(places), 0), request)
        answers = await asyncio.gather(
            *(
                self._ask(context, shard, _part(request, route.items, [items[n] for n in numbers]))
                for shard, numbers in places.items()
            ),
            return_exceptions=True,
        )
        if not route.results:
            failed = next((one for one in answers if isinstance(one, BaseException)), None)
            if (
                failed is not None
            ):  # the others have done their parts: a repeat changes nothing there
                raise failed
            return added(answers, route)
        whole = next((type(one)() for one in answers if not isinstance(one, BaseException)), None)
        if whole is None and answers:
            raise _raised(answers[0])
        whole = whole or route.answer()
        results = getattr(whole, route.results)
        kind = results.add().__class__
        results.clear()
        found: list[Any] = [None] * len(items)
        for n, no in differing.items():
            found[n] = _refused(kind, no)
        for numbers, answer in zip(places.values(), answers, strict=True):
            ours = (
                [_refused(kind, answer)] * len(numbers)
                if isinstance(answer, BaseException)
                else getattr(answer, route.results)
            )
            for n, one in zip(numbers, ours, strict=True):
                found[n] = one
        results.extend(found)
        return whole

    def _places(self, items: Sequence[Any]) -> tuple[dict[int, list[int]], dict[int, ShardsDiffer]]:
        """The places of items by their shard, and those that are of several. Raises ShardsDiffer where an
        item has no answer of its own."""
        places: dict[int, list[int]] = {}
        differing: dict[int, ShardsDiffer] = {}
        for place, item in enumerate(items):
            try:
                shard = self._route.shard(item, self._router.count, self._router.pinned)
            except ShardsDiffer as no:
                if not self._route.results:
                    raise
                differing[place] = no
                continue
            assert shard is not None, "an item has a shard"
            places.setdefault(shard, []).append(place)
        return places, differing


class _There:
    """Asks shards of which each may have a part of what a key names: one without it is left out."""

    def __init__(self, ask: shard_pages.Ask, route: Route) -> None:
        self._ask, self._route = ask, route
        self.missing: dict[int, Refusal | Refused] = {}

    async def ask(self, shard: int, request: Any) -> Any:
        """The answer of a shard; an empty one when it has nothing of the key."""
        try:
            return await self._ask(shard, request)
        except (Refusal, Refused) as no:
            if no.code is not Code.NOT_FOUND:
                raise
            self.missing[shard] = no
            return self._route.answer()


def _runs(route: Route, request: Any, router: Router) -> Iterator[tuple[int, Any]]:
    """The items of a request in their order, those of one shard that follow each other together."""
    items = getattr(request, route.items)
    count, pinned = router.count, router.pinned
    for shard, some in groupby(items, key=lambda one: route.shard(one, count, pinned) or 0):
        yield shard, _part(request, route.items, list(some))
    if not items:
        yield 0, request


def _begun(handler: Any, request: Any, context: RpcContext) -> AsyncIterator[Any]:
    return handler.unary_stream(request, context)


def _part(request: Any, field: str, items: Sequence[Any]) -> Any:
    """The same request with some of its items."""
    made = type(request)()
    for other, value in request.ListFields():
        if other.name != field and other.message_type is None:
            setattr(made, other.name, value)
    getattr(made, field).extend(items)
    return made


def _refused(kind: type[Any], error: BaseException) -> Any:
    """The answer of an item whose shard refused its part of the call. Raises what no item can say."""
    if not isinstance(error, Refusal | Refused) or REFUSAL not in kind.DESCRIPTOR.fields_by_name:
        raise error
    return kind(**{REFUSAL: error.to_proto()})


def _raised(error: BaseException | Any) -> BaseException:
    assert isinstance(error, BaseException)
    return error
