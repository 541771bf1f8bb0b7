"""The background work of PayServer: querying components for unknown results."""

from __future__ import annotations

from typing import Final

import msgspec

from shoudan_kit.tasks.kinds import Kind

QUEUE: Final = "payserver:ask"
# A day beyond the longest order; with at most one query in ten seconds.
DEADLINE_S: Final = 366 * 86_400
COUNT_MAX: Final = 10_000_000


class Ask(msgspec.Struct, frozen=True):
    """Query the component for this number."""

    traction_no: str


def _kind(name: str) -> Kind[Ask]:
    return Kind(
        name,
        Ask,
        QUEUE,
        interval_s=10,
        deadline_s=DEADLINE_S,
        count_max=COUNT_MAX,
        exclusive=True,
        each=True,
        parallel=32,
    )


ASK_PAY: Final = _kind("payserver.ask_pay")
ASK_REFUND: Final = _kind("payserver.ask_refund")
