"""The background work of ChinaUMS: querying the result of a refund."""

from __future__ import annotations

from typing import Final

import msgspec

from shoudan_kit.tasks.kinds import Kind

DAY_S: Final = 86_400
# protocols §1.8: queried for a day; the waits in between are settings.
UMS_SLOW_S: Final = 300


class AskUms(msgspec.Struct, frozen=True):
    """Query ChinaUMS for this refund."""

    traction_no: str


def _kind(name: str, count_max: int) -> Kind[AskUms]:
    return Kind(
        name,
        AskUms,
        "platforms:ask",
        interval_s=UMS_SLOW_S,
        deadline_s=DAY_S,
        count_max=count_max,
        exclusive=True,
        each=True,
        parallel=16,
    )


ASK_UMS: Final = _kind("chinaums.ask", 1_000)
# A notify queries at once; the scheduled query stays where it is.
ASK_UMS_NOW: Final = _kind("chinaums.ask_now", 3)
