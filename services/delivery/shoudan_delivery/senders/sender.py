"""The senders: one per channel, each with its own queue, places and connections, so none delays another."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from contextvars import Context
from dataclasses import replace
from typing import Any

import msgspec
from sqlalchemy.exc import DBAPIError

from shoudan_delivery import interpret
from shoudan_delivery.config import DeliverySettings
from shoudan_delivery.inbound import NotifyTokens
from shoudan_delivery.protocols import Call, SupplierProtocol, Unwritable, protocol_of
from shoudan_delivery.result_writers import ResultWriter
from shoudan_delivery.senders.breaker import Breaker, BreakerRules, Turn
from shoudan_delivery.senders.pacing import Pacing
from shoudan_delivery.senders.shared_limits import SharedLimits, query_party, send_party
from shoudan_delivery.states import ServiceClass, Source, SupplierState
from shoudan_delivery.stock import PROTOCOL as STOCK
from shoudan_delivery.stock import Stock
from shoudan_delivery.store import deliveries as store
from shoudan_delivery.store.rows import Outcome, Outgoing, RequestTask, Supplier, Verdict
from shoudan_kit import log, metrics
from shoudan_kit.clock import Clock
from shoudan_kit.db.errors import Unavailable
from shoudan_kit.db.pool import Database, retry
from shoudan_kit.faults import hit
from shoudan_kit.http.client import HttpClient, HttpResult, NotSent
from shoudan_kit.limits.places import Places
from shoudan_kit.limits.shares import Counts
from shoudan_kit.process.shutdown import cancel_all
from shoudan_kit.rpc.refusal import Overloaded, ShuttingDown
from shoudan_kit.secrets.sealing import SealedColumn
from shoudan_kit.tracing.carried import trace_of

REFUSED_WAIT_S = 1.0
TRIALS_MAX = 3
PROBE_S = 10.0  # how long one process tries a rested channel before another may
PROBE_EVERY_S = 1.0  # between looks whether it is this one's turn
# Calls started in one turn of the event loop, so that other channels get theirs.
TURN_MAX = 16

AWAY = (Unavailable, DBAPIError, OSError, TimeoutError)  # the database

_log = log.get_logger("sender")

Switch = Callable[[Supplier, bool], Awaitable[None]]
ClaimProbe = Callable[[Supplier, float], Awaitable[bool]]


class Sender:
    """One channel: marks deliveries as sending in batches, then calls with `concurrency_max` in flight."""

    def __init__(
        self,
        supplier: Supplier,
        *,
        db: Database,
        writer: ResultWriter,
        clock: Clock,
        settings: DeliverySettings,
        tokens: NotifyTokens,
        accounts: SealedColumn,
        stock: Stock,
        switch: Switch,
        note_used: Callable[[int], None],
        claim_probe: ClaimProbe,
        limits: SharedLimits,
    ) -> None:
        """`limits` says how much of a total is this process's; `switch(supplier, tripped)` stores that the
        breaker tripped or closed; `note_used` gets the stored credential that a call was signed with;
        `claim_probe(supplier, s)` says whether this process tries a rested channel for so long."""
        self._note_used, self._limits = note_used, limits
        self.supplier = supplier
        self._db, self._writer, self._clock, self._settings = db, writer, clock, settings
        self._tokens, self._accounts, self._switch = tokens, accounts, switch
        self._stock = stock
        self._queue: deque[tuple[int, RequestTask]] = deque()
        self._known: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._in_flight = 0
        self._pacing = Pacing(clock)
        self._wake = asyncio.Event()
        self._pumping = self._closing = False
        self._switching = False
        self._claim_probe, self._claiming, self._probing_until = claim_probe, False, 0.0
        writer.in_progress = lambda: len(self._known)
        self._http = self._new_http(supplier)
        _show_state(supplier)
        self._asking = Places(lambda: limits.queries(self.supplier))
        self._breaker = Breaker(
            BreakerRules(
                settings.breaker_window_s,
                settings.breaker_calls_min,
                settings.breaker_failures_ppm,
                TRIALS_MAX,
            )
        )

    def knows(self, order_no: int) -> bool:
        """Whether a delivery waits or is under way here."""
        return order_no in self._known

    @property
    def places(self) -> int:
        """Calls that may be in flight from this process: its share of the channel's total."""
        return self._limits.calls(self.supplier)

    @property
    def waiting(self) -> int:
        """Deliveries queued."""
        return len(self._queue)

    def enqueue(self, order_nos: Sequence[int], request_task: RequestTask) -> bool:
        """Enqueue these; False when the queue is full: the rest stays in the table."""
        room = self._settings.send_queue_max - len(self._queue)
        taken = [no for no in order_nos if no not in self._known]
        for order_no in taken[: max(room, 0)]:
            self._known.add(order_no)
            self._queue.append((order_no, request_task))
        self._pump_soon()
        return len(taken) <= room

    @property
    def free(self) -> int:
        """Calls that may begin at once: none while others wait, the channel rests or this ends."""
        open_ = self.supplier.takes_new and self.supplier.state is SupplierState.OPEN
        return self._room() if open_ and not self._queue and not self._closing else 0

    def hold(self, order_nos: Collection[int]) -> None:
        """Give places to deliveries that are about to be committed as sending."""
        self._in_flight += len(order_nos)
        self._known.update(order_nos)

    def release(self, order_nos: Collection[int]) -> None:
        """Take the places back: nothing was committed."""
        self._in_flight -= len(order_nos)
        self._known.difference_update(order_nos)
        self._wake.set()

    def begin(self, rows: Sequence[Outgoing], request_task: RequestTask) -> None:
        """Call for deliveries that hold places, committed as sending."""
        self._spawn(self._call([(row, request_task) for row in rows], trial=False))

    def update(self, supplier: Supplier) -> None:
        """The channel was configured or switched anew."""
        old, self.supplier = self.supplier, supplier
        if old.state != supplier.state:
            self._breaker.clear()
        if old.concurrency_max != supplier.concurrency_max:
            leaving, self._http = self._http, self._new_http(supplier)
            self._spawn(self._retire(leaving, old.timeout_s))
        _show_state(supplier)
        self._wake.set()
        self._pump_soon()

    async def aclose(self, drain_s: float) -> None:
        """Start no call, let calls in flight finish for `drain_s`; those cut off are queried later."""
        self._closing = True
        for order_no, _ in self._queue:
            self._known.discard(order_no)
        self._queue.clear()
        self._wake.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=drain_s)
        await cancel_all(self._tasks)
        await self._http.aclose()

    def _new_http(self, supplier: Supplier) -> HttpClient:
        return HttpClient(
            f"supplier {supplier.channel_no}",
            guard=self._settings.supplier_guard(),
            connect_s=self._settings.connect_timeout_s,
            total_s=supplier.timeout_s,
            per_host_max=supplier.concurrency_max + self._settings.query_concurrency_max,
        )

    async def _retire(self, http: HttpClient, timeout_s: float) -> None:
        """Close old connections once their last call can have ended."""
        await asyncio.sleep(timeout_s)
        await http.aclose()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        # In a context of its own: who fills the queue is not who the call is for.
        task = self._loop.create_task(work, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ------------------------------------------------------------ sending
    def _pump_soon(self) -> None:
        if self._queue and not self._pumping:
            self._pumping = True
            self._spawn(self._pump())

    async def _pump(self) -> None:
        """Send what is queued; ends with the queue."""
        try:
            while self._queue:
                if not self.supplier.takes_new:
                    self._give_up_queue()
                elif (room := self._room()) > 0:
                    await self._send_some(room)
                else:
                    self._wake.clear()
                    await self._wake.wait()
                    self._pacing.resume()
        finally:
            self._pumping = False
        self._pump_soon()

    def _room(self) -> int:
        """Calls that may begin now; a tripped channel rests, then one process tries it with a few."""
        supplier = self.supplier
        if supplier.state is SupplierState.HELD or supplier.tripped:
            return 0
        if supplier.state is SupplierState.TRIPPED:
            return TRIALS_MAX - self._in_flight if self._may_try() else 0
        return self.places - self._in_flight

    def _may_try(self) -> bool:
        """Whether this process is the one that tries the rested channel; asks to be it when it is not."""
        if self._clock.monotonic() < self._probing_until:
            return True
        if not self._claiming:
            self._claiming = True
            self._spawn(self._ask_to_try())
        return False

    async def _ask_to_try(self) -> None:
        """Wakes the sender in either case: when it may try, and when it is time to ask again."""
        began = self._clock.monotonic()
        try:
            if await self._claim_probe(self.supplier, PROBE_S):
                self._probing_until = began + PROBE_S
            else:
                await asyncio.sleep(PROBE_EVERY_S)
        except AWAY as error:
            _log.warning("probe_not_claimed", error=type(error).__name__)
            await asyncio.sleep(PROBE_EVERY_S)
        finally:
            self._claiming = False
            self._wake.set()

    async def _send_some(self, room: int) -> None:
        if room < len(self._queue):
            room = await self._paced()
        most = min(room, self._settings.send_batch_max, len(self._queue))
        batch = dict(self._queue.popleft() for _ in range(most))
        if not batch:
            return
        try:
            rows = await retry(lambda: self._mark(list(batch)))
        except AWAY as error:
            _log.warning("mark_failed", error=type(error).__name__)
            self._queue.extendleft(reversed(batch.items()))
            await asyncio.sleep(0.5)
            return
        try:
            trial = self.supplier.state is SupplierState.TRIPPED
            self._in_flight += len(rows)
            await self._call([(row, batch.pop(row.order_no)) for row in rows], trial=trial)
            if batch:
                await self._drop(batch)
        finally:  # what is not under way by now is let go, else its task would wait for it for good
            self._known.difference_update(batch)

    async def _call(self, marked: Sequence[tuple[Outgoing, RequestTask]], *, trial: bool) -> None:
        """Begin the calls of these, which have places; the places of those not begun are given back."""
        left = deque(marked)
        try:
            hit("delivery.before_call")
            while left:
                for _ in range(min(TURN_MAX, len(left))):
                    self._spawn(self._deliver(*left.popleft(), trial=trial))
                if left:
                    await asyncio.sleep(0)
        finally:
            self.release([row.order_no for row, _ in left])

    async def _paced(self) -> int:
        """Gather free places, then give those that may be used now."""
        await asyncio.sleep(self._pacing.gather_s(self._settings.send_linger_s))
        allowed = self._pacing.allowed(len(self._queue), self.places)
        return self._room() if allowed is None else min(self._room(), allowed)

    async def _mark(self, order_nos: Sequence[int]) -> list[Outgoing]:
        async with self._db.connect() as db:  # one statement, committed when it returns
            return await store.mark_sending(db, order_nos)

    async def _drop(self, unmoved: dict[int, RequestTask]) -> None:
        """Deliveries that could not be marked: overdue ones fail, others another process has moved."""
        try:
            async with self._db.connect() as db:
                overdue = set(await store.overdue(db, list(unmoved)))
        except AWAY as error:
            _log.warning("overdue_not_read", error=type(error).__name__)
            return  # their task looks at them again
        for order_no, request_task in unmoved.items():
            if order_no in overdue:
                self._never(order_no, request_task, "NOT_SENT_IN_TIME", "its owner no longer waits")

    def _give_up_queue(self) -> None:
        """Fail what was never sent to a suspended channel, so that orders are bound elsewhere."""
        while self._queue:
            order_no, request_task = self._queue.popleft()
            self._known.discard(order_no)
            self._never(order_no, request_task, "CHANNEL_SUSPENDED", self.supplier.state_reason)

    def _never(self, order_no: int, request_task: RequestTask, code: str, why: str) -> None:
        self._writer.enqueue(
            Outcome(order_no, Verdict.NEVER_SENT, Source.NONE, code, why, request_task=request_task)
        )

    async def _deliver(self, row: Outgoing, request_task: RequestTask, *, trial: bool) -> None:
        """One call and what it means; the number is never sent again from here unless refused unsent."""
        try:
            outcome = await self._request(row, trial=trial)
        except BaseException:
            self._known.discard(row.order_no)  # its task looks at it again, and asks
            raise
        finally:
            self._in_flight -= 1
            self._wake.set()
        outcome.request_task, outcome.ask_after_s = request_task, self.supplier.ask_after_s
        outcome.queue_name = self.supplier.queue_name
        if outcome.verdict is not Verdict.NOT_SENT:
            self._known.discard(row.order_no)
            self._writer.enqueue(outcome)
            return
        try:
            await self._writer.write(outcome)
            await asyncio.sleep(REFUSED_WAIT_S * random.uniform(0.5, 1.5))
        finally:
            self._known.discard(row.order_no)
        self.enqueue([row.order_no], request_task)

    async def _request(self, row: Outgoing, *, trial: bool) -> Outcome:
        if self.supplier.protocol == STOCK:
            return await self._from_stock(row, Source.SYNC)
        supplier, row = self.supplier, self._opened(row)
        protocol: SupplierProtocol = protocol_of(supplier)
        notify_url = self._tokens.url(supplier, row.order_no)
        call = protocol.request(supplier, row, self._clock.now(), notify_url)
        began = self._clock.monotonic()
        http_result = await self._send(call, supplier.timeout_s, row)
        self._pacing.note(self._clock.monotonic() - began)
        hit("delivery.after_call")
        if not isinstance(call, Unwritable):
            self._note(http_result, trial=trial)
        return interpret.of_http_result(supplier, protocol, row, http_result, Source.SYNC)

    async def _send(self, call: Call | Unwritable, total_s: float, row: Outgoing) -> HttpResult:
        if isinstance(call, Unwritable):
            return NotSent(call.why)
        if stored := self.supplier.credential_ids:
            self._note_used(stored[0])
        return await self._http.send(
            call.method,
            call.url,
            headers=call.headers,
            body=call.body,
            total_s=total_s,
            trace=trace_of(row.order_id),
        )

    def _opened(self, row: Outgoing) -> Outgoing:
        """The row with its account in clear, for the length of one call."""
        account = self._accounts.open(row.order_no, row.account)
        return msgspec.structs.replace(row, account=account)

    # ------------------------------------------------------------ asking
    def ask(self, row: Outgoing) -> None:
        """Query an unknown delivery, or resend it to a supplier that is idempotent."""
        if row.order_no not in self._known:
            self._known.add(row.order_no)
            self._spawn(self._ask(row))

    async def _ask(self, row: Outgoing) -> None:
        try:
            async with self._asking:
                outcome = await self._query(row) if self.supplier.can_query else None
                if outcome is not None:
                    await self._writer.write(outcome)
                lost = outcome is None or outcome.verdict is Verdict.NO_SUCH_ORDER
                if lost and self._may_repeat(row) and await self._count_repeat(row):
                    again = await self._request(row, trial=False)
                    if again.verdict is Verdict.NOT_SENT:
                        again.verdict = Verdict.UNKNOWN
                    await self._writer.write(again)
        finally:
            self._known.discard(row.order_no)

    def _may_repeat(self, row: Outgoing) -> bool:
        supplier = self.supplier
        usable = supplier.enabled and supplier.state is SupplierState.OPEN
        return supplier.idempotent and usable and not row.overdue

    async def _count_repeat(self, row: Outgoing) -> bool:
        """Stored before the call, like every attempt; False when the delivery has ended meanwhile."""
        try:
            async with self._db.connect() as db:
                return bool(await store.mark_repeated(db, [row.order_no]))
        except AWAY as error:
            _log.warning("mark_failed", error=type(error).__name__)
            return False  # it is queried again

    async def _from_stock(self, row: Outgoing, source: Source) -> Outcome:
        """Our own stock is asked like a supplier: what it did not answer is unknown, and asked again."""
        if row.service_class == ServiceClass.COUPON_RETURN:  # its cards are void already
            done = Verdict.SUCCEEDED
            return Outcome(row.order_no, done, source, "VOID", succ_face_micros=row.amount_micros)
        try:
            return await self._stock.deliver(row, source)
        except (*AWAY, Overloaded, ShuttingDown) as error:
            _log.warning("stock_away", error=type(error).__name__)
            return Outcome(row.order_no, Verdict.UNKNOWN, source, "NO_ANSWER")

    async def read(self, row: Outgoing) -> Outcome:
        """What the supplier says of one now; nothing comes of it."""
        return await self._query(row)

    async def _query(self, row: Outgoing) -> Outcome:
        if self.supplier.protocol == STOCK:
            return await self._from_stock(row, Source.QUERY)
        supplier, row = self.supplier, self._opened(row)
        protocol = protocol_of(supplier)
        call = protocol.query(supplier, row, self._clock.now())
        http_result = await self._send(call, self._settings.query_timeout_s, row)
        outcome = interpret.of_http_result(supplier, protocol, row, http_result, Source.QUERY)
        if outcome.verdict is Verdict.NOT_SENT:
            outcome.verdict = Verdict.UNKNOWN
        return outcome

    # ------------------------------------------------------------ the breaker
    def _note(self, http_result: HttpResult, *, trial: bool) -> None:
        """Count one answer; calls started before a trip do not count after it."""
        state = self.supplier.state
        if state is not SupplierState.OPEN and not (trial and state is SupplierState.TRIPPED):
            return
        failed = interpret.transport_failed(http_result)
        self._turn(self._breaker.note(self._clock.monotonic(), failed=failed, tripped=trial))

    def _turn(self, turn: Turn) -> None:
        if turn is Turn.NONE or self._switching:
            return
        tripped = turn is Turn.TRIP
        self._switching, self._probing_until = True, 0.0
        now = SupplierState.TRIPPED if tripped else SupplierState.OPEN
        self.supplier = replace(self.supplier, state=now, tripped=tripped)
        self._spawn(self._write_switch(tripped=tripped))
        self._wake.set()

    # ------------------------------------------------------------ the other replicas
    def asked(self) -> dict[str, float]:
        """What part of its totals is asked of this process now."""
        supplier = self.supplier
        sends = (self._in_flight + len(self._queue)) / supplier.concurrency_max
        queries = self._asking.wanted / self._settings.query_concurrency_max
        return {send_party(supplier): min(1.0, sends), query_party(supplier): min(1.0, queries)}

    def used(self) -> dict[str, float]:
        """What part of its totals is in flight from this process."""
        sends = self._in_flight / self.supplier.concurrency_max
        queries = self._asking.taken / self._settings.query_concurrency_max
        return {send_party(self.supplier): sends, query_party(self.supplier): queries}

    def counts(self) -> tuple[str, Counts]:
        """Answers that the breaker has counted here, by the party they are shared as."""
        return send_party(self.supplier), Counts(self._breaker.calls, self._breaker.failures)

    def received(self, counts: Counts | None) -> None:
        """A beat: shares may have changed, and the others have counted these answers."""
        if counts is not None and self.supplier.state is SupplierState.OPEN:
            now = self._clock.monotonic()
            self._turn(self._breaker.add(now, counts.calls, counts.failures))
        self._asking.wake()
        self._wake.set()

    async def _write_switch(self, *, tripped: bool) -> None:
        try:
            await self._switch(self.supplier, tripped)
        except AWAY as error:
            _log.warning("switch_failed", error=type(error).__name__)
        finally:
            self._switching = False


def _show_state(supplier: Supplier) -> None:
    shown = 0 if supplier.state is SupplierState.OPEN else 2 - supplier.tripped
    metrics.BREAKER_STATE(supplier.channel_no).set(shown)
