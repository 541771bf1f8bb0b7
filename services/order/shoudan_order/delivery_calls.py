"""Calls to the delivery service for tasks: what its answers end, and what comes again."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TypeVar

import grpc
import msgspec

from shoudan_kit import log
from shoudan_kit.rpc.refusal import Refused
from shoudan_kit.tasks.kinds import Task
from shoudan_order.context import Context
from shoudan_order.delivery_client import AGAIN, DIFFERS, UNKNOWN, Answer, Outcome
from shoudan_order.store.rows import Order

_log = log.get_logger("delivery_calls")

S = TypeVar("S", bound=msgspec.Struct)


def key(
    context: Context, order: Order, number: int, *, is_return: bool = False
) -> tuple[int, str, int]:
    """What the delivery service knows a delivery or return by."""
    line = context.catalogue.lines.get(order.line_id)
    if is_return:
        service_class = line.return_service_class if line else 21
    else:
        service_class = line.service_class if line else 10
    return number, order.down_channel_no, service_class


async def answered(
    context: Context, tasks: Sequence[Task[S]], call: Awaitable[Sequence[Answer]]
) -> list[tuple[Task[S], Answer]]:
    """Each task with its answer; when the delivery service does not answer, all are retried."""
    try:
        answers = await call
    except grpc.RpcError as error:
        _log.warning("delivery_unanswered", code=str(error.code()), count=len(tasks))
        for task in tasks:
            task.retry_after(
                context.settings.call_again_s, f"delivery did not answer: {error.code()}"
            )
        return []
    return list(zip(tasks, answers, strict=True))


def handed_over(
    context: Context, task: Task[S], number: int, answer: Answer, *, is_return: bool = False
) -> Outcome | None:
    """What the answer to a hand-over ends; None while the end is open. What was refused was never sent."""
    if isinstance(answer, Outcome):
        return answer
    if not isinstance(answer, Refused):
        return None
    if answer.reason in AGAIN or answer.reason == DIFFERS:
        # One that differs was handed over before: its own result will come.
        task.retry_after(context.settings.call_again_s, answer.reason)
        return None
    _log.info("delivery_refused", number=number, is_return=is_return, reason=answer.reason)
    reason = answer.reason.removeprefix("ERROR_REASON_").lower()
    return Outcome(number, False, is_return, result_code="refused", result_desc=reason)


def queried(number: int, answer: Answer, *, is_return: bool = False) -> Outcome | None:
    """The end that a query finds; one that was never handed over has failed for certain."""
    if isinstance(answer, Outcome):
        return answer
    if isinstance(answer, Refused) and answer.reason == UNKNOWN:
        return Outcome(number, False, is_return, result_code="not_sent")
    return None
