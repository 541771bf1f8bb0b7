"""What is changed, area by area, and the tests that hold its promises: those that run in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Area:
    """Modules and test files. `least_ppm`: what part of the changes the tests must find."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]
    least_ppm: int = 900_000


def _all(text: str, names: str) -> tuple[str, ...]:
    return tuple(text.format(name) for name in names.split())


_LIMITS: Final = "bulkhead shared_bulkhead shares rates places"
_SCHEMES: Final = (
    "authorization channel goofish key_signature open_access_token open_body_sig recipe robots"
    " tsk_hmac tsk_rsa2 tvs_hmac webhooks"
)

AREAS: Final = {
    "limits": Area(
        _all("kit/shoudan_kit/limits/{}.py", _LIMITS),
        _all("tests/kit/limits/test_{}.py", _LIMITS),
    ),
    "money": Area(
        _all("kit/shoudan_kit/{}.py", "money ids"),
        _all("tests/kit/test_{}.py", "money ids"),
    ),
    "signing": Area(
        _all("signing/shoudan_signing/{}.py", _SCHEMES),
        _all("tests/signing/test_{}.py", "channel goofish open recipe robots skill webhooks"),
    ),
}
