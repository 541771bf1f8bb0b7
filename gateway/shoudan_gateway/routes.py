"""Which endpoint a path means; built once from the partners' tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from shoudan_gateway.protocol import Endpoint, Partner, Sink

NOTHING: Final[Mapping[str, str]] = {}
PATH_CHARS_MAX: Final = 512


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint with the partner it belongs to."""

    partner: Partner
    endpoint: Endpoint[Any, Any] | Sink


class Routes:
    """Exact paths by one look-up, the few with {names} by pattern; a path may differ by method."""

    def __init__(self, partners: Iterable[Partner]) -> None:
        self._exact: dict[str, list[Route]] = {}
        self._patterns: list[tuple[re.Pattern[str], Route]] = []
        self._spaces: dict[str, Partner] = {}
        for partner in partners:
            for endpoint in partner.endpoints:
                others = endpoint.aliases if isinstance(endpoint, Endpoint) else ()
                for path in (endpoint.path, *others):
                    self._add(path, Route(partner, endpoint))

    def _add(self, path: str, route: Route) -> None:
        self._spaces.setdefault(_first(path), route.partner)
        if "{" in path:
            pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(path))
            self._patterns.append((re.compile(pattern), route))
            return
        there = self._exact.setdefault(path, [])
        if any(one.endpoint.methods & route.endpoint.methods for one in there):
            raise ValueError(f"{path} is claimed by two partners")
        there.append(route)

    def space(self, path: str) -> Partner | None:
        """The partner whose paths begin like this one: its words answer what is served nowhere."""
        return self._spaces.get(_first(path))

    def find(self, path: str, method: str = "") -> tuple[Route | None, Mapping[str, str]]:
        """The route of a path and the values of its {names}; one of another method if none has this."""
        there = self._exact.get(path)
        if there is not None:
            return next((one for one in there if method in one.endpoint.methods), there[0]), NOTHING
        if len(path) > PATH_CHARS_MAX:
            return None, NOTHING
        other: tuple[Route | None, Mapping[str, str]] = None, NOTHING
        for pattern, route in self._patterns:
            found = pattern.fullmatch(path)
            if found is None:
                continue
            other = route, {name: unquote(value) for name, value in found.groupdict().items()}
            if method in route.endpoint.methods:
                break
        return other


def _first(path: str) -> str:
    """The first segment of a path."""
    return path[1:].partition("/")[0]
