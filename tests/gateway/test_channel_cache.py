"""Promises of the channels in memory: what changed is laid over them, and all of it replaces them."""

from __future__ import annotations

from typing import Any

from shoudan.order.v1 import catalogue_service_pb2 as catalogue
from shoudan_gateway.channel_cache import ChannelCache
from shoudan_gateway.protocol import GatewayError, Problem


class Order:
    """The order service: answers in turn; what it was asked is kept."""

    def __init__(self, *answers: catalogue.GetCatalogueResponse | Problem) -> None:
        self.answers, self.known = list(answers), list[int]()

    async def ask(self, call: Any, request: Any) -> Any:
        self.known.append(request.known_version)
        answer = self.answers.pop(0)
        if isinstance(answer, Problem):
            raise answer
        return answer


class NoneStored:
    """No channel has a stored credential, as just fetched."""

    known, age_s = True, 0.0

    def of(self, kind: str, owner: str) -> tuple[Any, ...]:
        return ()


def answer(version: int, *networks: tuple[str, str], only_changed: bool) -> Any:
    channels = [catalogue.DownChannel(channel_no=no, allowed_networks=[n]) for no, n in networks]
    return catalogue.GetCatalogueResponse(
        catalogue=catalogue.Catalogue(down_channels=channels),
        version=version,
        only_changed=only_changed,
    )


async def test_changes_are_laid_over_what_is_known_until_all_is_given_anew() -> None:
    order = Order(
        answer(4, ("a", "10.0.0.0/8"), ("b", "10.0.0.0/8"), only_changed=False),
        answer(4, only_changed=True),
        Problem(GatewayError.BUSY),
        answer(6, ("b", "192.168.0.0/16"), ("c", "10.0.0.0/8"), only_changed=True),
        answer(2, ("c", "172.16.0.0/12"), only_changed=False),
    )
    stored: Any = NoneStored()
    cache = ChannelCache(order.ask, 1, None, stored, 60)

    def networks() -> dict[str, str]:
        found = {no: cache.find(no) for no in "abc"}
        return {no: str(rule.networks[0]) for no, rule in found.items() if rule is not None}

    seen = [(await cache.read(), networks()) for _ in range(5)]
    assert order.known == [0, 4, 4, 4, 6]
    first = {"a": "10.0.0.0/8", "b": "10.0.0.0/8"}
    assert seen == [
        (True, first),
        (True, first),
        (False, first),
        (True, {**first, "b": "192.168.0.0/16", "c": "10.0.0.0/8"}),
        (True, {"c": "172.16.0.0/12"}),
    ]
