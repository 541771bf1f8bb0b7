"""Which endpoint a path means; built once from the partners' tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from shoudan_gateway.wire import Endpoint, Partner, Sink

NOTHING: Final[Mapping[str, str]] = {}
PATH_CHARS_MAX: Final = 512


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint with the partner it belongs to."""

    partner: Partner
    endpoint: Endpoint[Any, Any] | Sink


class Routes:
    """Exact paths by one look-up, the few with {names} by pattern."""

    def __init__(self, partners: Iterable[Partner]) -> None:
        self._exact: dict[str, Route] = {}
        self._patterns: list[tuple[re.Pattern[str], Route]] = []
        for partner in partners:
            for endpoint in partner.endpoints:
                self._add(Route(partner, endpoint))

    def _add(self, route: Route) -> None:
        path = route.endpoint.path
        if "{" in path:
            pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(path))
            self._patterns.append((re.compile(pattern), route))
            return
        if path in self._exact:
            raise ValueError(f"{path} is claimed by two partners")
        self._exact[path] = route

    def find(self, path: str) -> tuple[Route | None, Mapping[str, str]]:
        """The route of a path and the values of its {names}."""
        route = self._exact.get(path)
        if route is not None or len(path) > PATH_CHARS_MAX:
            return route, NOTHING
        for pattern, route in self._patterns:
            found = pattern.fullmatch(path)
            if found is not None:
                return route, {name: unquote(value) for name, value in found.groupdict().items()}
        return None, NOTHING
