"""What a sender could not bring to its end is let go: its task looks at it again, and it ends."""

from __future__ import annotations

from typing import Any

import pytest

from shoudan_delivery.store import deliveries as store
from shoudan_kit import faults
from tests.delivery.conftest import House

SUCCEEDED = 0


async def test_a_mark_whose_answer_was_lost_is_looked_at_again(
    running: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is marked, but nobody here is told; then it cannot be read who moved it."""
    mark, read, lost = store.mark_sending, store.overdue, []

    async def marked(*given: Any) -> Any:
        rows = await mark(*given)
        if not lost:
            lost.append("mark")
            raise ConnectionResetError
        return rows

    async def unread(*given: Any) -> Any:
        if len(lost) == 1:
            lost.append("overdue")
            raise ConnectionResetError
        return await read(*given)

    monkeypatch.setattr(store, "mark_sending", marked)
    monkeypatch.setattr(store, "overdue", unread)
    await running.apply(timeout_s=0.5, idempotent=True)
    (number,) = await running.send("0000")
    assert (await running.ends(number)).status == SUCCEEDED
    assert lost == ["mark", "overdue"]


@pytest.mark.parametrize("point", ["delivery.before_call", "delivery.after_call"])
async def test_an_error_that_no_handler_expects_holds_up_no_delivery(
    running: House, point: str
) -> None:
    await running.apply(timeout_s=0.5, idempotent=True)
    faults.arm("test", f"{point}:raise")
    try:
        numbers = await running.send("0000", "0000")
        assert {(await running.ends(one)).status for one in numbers} == {SUCCEEDED}
    finally:
        faults.arm("test", "")
