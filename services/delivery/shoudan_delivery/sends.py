"""Deliveries called as soon as they are committed, for their channels have places. Decision 0064."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from shoudan_delivery.context import Context
from shoudan_delivery.kinds import REQUEST
from shoudan_delivery.senders.sender import Sender
from shoudan_delivery.states import ServiceClass
from shoudan_delivery.store.rows import NewDelivery, Outgoing, RequestTask

TASK_DELIVERIES_MAX = 200  # of one task, and so of one round of calls


def by_channel(
    ones: Sequence[tuple[int, NewDelivery]],
) -> Mapping[tuple[str, int], list[tuple[int, NewDelivery]]]:
    """New deliveries by channel and service class, in their order."""
    by_channel: dict[tuple[str, int], list[tuple[int, NewDelivery]]] = {}
    for one in ones:
        by_channel.setdefault((one[1].channel_no, one[1].key.service_class), []).append(one)
    return by_channel


@dataclass(slots=True)
class _Calls:
    """What one channel is called for once it is committed."""

    sender: Sender
    rows: Mapping[int, Outgoing]
    request_task: RequestTask

    def begin(self, order_nos: Collection[int]) -> None:
        """Call for these; the places of the others are given back."""
        self.sender.release([no for no in self.rows if no not in order_nos])
        if rows := [row for no, row in self.rows.items() if no in order_nos]:
            self.sender.begin(rows, self.request_task)


class Sends:
    """Deliveries that are called as soon as they are committed, because their channels have places.

    A commit that is not answered is tried again; what that finds standing under a number of before was
    committed then, and not called for.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._held: dict[Sender, list[int]] = {}
        self._new: list[_Calls] = []
        self._doubted: list[_Calls] = []
        self._standing: set[int] = set()

    def hold(self, fresh: Sequence[tuple[int, NewDelivery]]) -> Collection[int]:
        """Those of channels that can call for all of theirs, whose queue is served here."""
        for key, ones in by_channel(fresh).items():
            sender = self._context.senders.of(*key)
            if sender is not None and len(ones) <= self._room(sender, key):
                self._held[sender] = [no for no, _ in ones]
                sender.hold(self._held[sender])
        return {no for numbers in self._held.values() for no in numbers}

    def _room(self, sender: Sender, key: tuple[str, int]) -> int:
        worker, queue = self._context.app.worker, sender.supplier.queue_name or REQUEST.queue
        # A return may end before it is sent, for what is used up is not given back.
        if key[1] == ServiceClass.COUPON_RETURN or worker is None:
            return 0
        return min(sender.free, TASK_DELIVERIES_MAX) if worker.accepts(REQUEST, queue) else 0

    def keep(self, rows: Mapping[int, Outgoing], task_of: Mapping[int, int]) -> None:
        """Of those held these are new, and of these tasks; the others' places are given back."""
        for sender, numbers in self._held.items():
            new = {no: rows[no] for no in numbers if no in rows}
            sender.release([no for no in numbers if no not in rows])
            if new:
                request_task = RequestTask(task_of[next(iter(new))], len(new))
                self._new.append(_Calls(sender, new, request_task))
        self._held.clear()

    def found(self, order_nos: Iterable[int]) -> None:
        """These stood there."""
        self._standing.update(order_nos)

    def doubt(self) -> None:
        """The transaction has failed, or its commit was not answered."""
        for sender, numbers in self._held.items():
            sender.release(numbers)
        self._held.clear()
        self._doubted += self._new
        self._new.clear()

    def begin(self) -> None:
        """The last transaction is committed."""
        for one in self._new:
            one.begin(one.rows)
        for one in self._doubted:
            one.begin(self._standing)

    def release(self) -> None:
        """Nothing is known to be committed: the places are given back."""
        for one in self._doubted:
            one.begin(())
