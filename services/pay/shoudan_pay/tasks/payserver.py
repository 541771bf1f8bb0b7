"""PayServer's background work: asking about pays and refunds until somebody knows."""

from __future__ import annotations

from typing import Any, Final

from shoudan_kit.task import Handler, Task, handles_each
from shoudan_pay.payserver.kinds import ASK_PAY, ASK_REFUND, Ask
from shoudan_pay.rpc.payserver import PayServer


@handles_each(ASK_PAY)
async def ask_pay(server: PayServer, task: Task[Ask]) -> None:
    """Bring one pay nearer to its end."""
    await server.asking.pay(task)


@handles_each(ASK_REFUND)
async def ask_refund(server: PayServer, task: Task[Ask]) -> None:
    """Bring one refund nearer to its end."""
    await server.asking.refund(task)


HANDLERS: Final[tuple[Handler[Any], ...]] = (ask_pay, ask_refund)
