"""The settings of services with methods that need two persons."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from shoudan_kit.config import ServiceSettings

PROPOSAL_S_MIN = 60
PROPOSAL_S_MAX = 2_592_000


class TwoPersonsSettings(ServiceSettings):
    """When one operator may not act alone."""

    two_persons: Literal["auto", "on", "off"] = Field(
        "auto",
        description="on: an operator's call that moves money is made when a second one approves it; auto: on "
        "in prod, off in demo and test, where there may be one person. prod refuses off.",
    )
    alone_max_micros: int = Field(
        0,
        ge=0,
        le=2**53,
        description="Micro-yuan that one operator may move alone in a day of Beijing, all calls together; "
        "0: none.",
    )
    proposal_valid_s: int = Field(
        86_400,
        ge=PROPOSAL_S_MIN,
        le=PROPOSAL_S_MAX,
        description="Seconds after which an undecided proposal expires; a day covers a shift change.",
    )

    @property
    def needs_two(self) -> bool:
        """Whether two persons are needed at all."""
        return self.two_persons == "on" or (self.two_persons == "auto" and self.profile == "prod")

    def cross_check(self) -> Iterator[str]:
        """prod always needs two."""
        yield from super().cross_check()
        if self.profile == "prod" and self.two_persons == "off":
            yield "two_persons: off must not be used in the prod profile"
