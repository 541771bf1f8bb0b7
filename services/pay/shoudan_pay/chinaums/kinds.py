"""The background work of ChinaUMS: asking what became of a refund."""

from __future__ import annotations

from typing import Final

import msgspec

from shoudan_kit.tasks.kinds import Kind

DAY_S: Final = 86_400
# protocols §1.8: asked for a day; the waits in between are settings.
UMS_SLOW_S: Final = 300


class AskUms(msgspec.Struct, frozen=True):
    """Ask ChinaUMS about this refund."""

    traction_no: str


ASK_UMS: Final = Kind(
    "chinaums.ask",
    AskUms,
    "platforms:ask",
    interval_s=UMS_SLOW_S,
    deadline_s=DAY_S,
    count_max=1_000,
    exclusive=True,
    each=True,
    parallel=16,
)
# A notify asks at once; the slow question stays where it is.
ASK_UMS_NOW: Final = Kind(
    "chinaums.ask_now",
    AskUms,
    "platforms:ask",
    interval_s=UMS_SLOW_S,
    deadline_s=DAY_S,
    count_max=3,
    exclusive=True,
    each=True,
    parallel=16,
)
