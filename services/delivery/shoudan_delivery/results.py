"""Stores outcomes of answers, notifies, queries and decisions, in batches, each once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from shoudan_delivery import cards, events
from shoudan_delivery.kinds import ASK, CONFLICT, REPORT, REQUEST, Ask, Report, Result
from shoudan_delivery.states import QueryStatus, ServiceClass, Source, Status
from shoudan_delivery.store import deliveries as store
from shoudan_delivery.store import missing as missing_store
from shoudan_delivery.store import stock as stock_store
from shoudan_delivery.store import suppliers as supplier_store
from shoudan_delivery.store import unmapped as unmapped_store
from shoudan_delivery.store.rows import (
    Delivery,
    EndedDelivery,
    Incident,
    Outcome,
    RequestTask,
    Verdict,
)
from shoudan_kit import log
from shoudan_kit.faults import hit
from shoudan_kit.ids import IdMaker
from shoudan_kit.secrets.sealing import KeyRing
from shoudan_kit.tasks.unit_of_work import UnitOfWork

_log = log.get_logger("results")
_params = msgspec.json.Decoder(dict[str, str]).decode

_FINAL = {
    Verdict.SUCCEEDED: Status.SUCCEEDED,
    Verdict.FAILED: Status.FAILED,
    Verdict.NEVER_SENT: Status.FAILED,
}
# Contradictions in one report, two results each: a report holds no more than one batch of results.
CONFLICTS_MAX = 250
_UNKNOWN = frozenset({Verdict.UNKNOWN, Verdict.NO_SUCH_ORDER})
RACES_MAX = 3  # that one batch loses to other processes over a card


@dataclass
class _Batch:
    """What one transaction does, gathered before it is committed."""

    outcomes: Sequence[Outcome]
    moved: dict[int, EndedDelivery] = field(default_factory=dict[int, EndedDelivery])
    incidents: list[tuple[Outcome, str]] = field(default_factory=list[tuple[Outcome, str]])


class Results:
    """Stores a batch of outcomes with their tasks and events in one transaction.

    The first final outcome of a delivery wins; an equal later one changes nothing; the first different
    later one is written to vds_order_exp, flagged, published and reported to the owner; it is never applied.
    """

    def __init__(
        self, work: Callable[[str], UnitOfWork], ids: IdMaker, local_ip: str, ring: KeyRing
    ) -> None:
        """`ring` seals cards."""
        self._work, self._ids, self._local_ip, self._ring = work, ids, local_ip, ring

    async def write(self, outcomes: Sequence[Outcome]) -> None:
        """Store these, of any channel, in the order they arrived."""
        for _ in range(RACES_MAX):
            try:
                return await self._write(outcomes)
            except cards.CardTaken:
                continue  # another process has just stored one of these cards: now it is seen
        return await self._write(outcomes)

    async def _write(self, outcomes: Sequence[Outcome]) -> None:
        batch = _Batch(outcomes)
        hit("delivery.before_end")
        async with self._work("delivery.end") as work:
            if with_cards := [one for one in outcomes if one.cards]:
                await cards.judge(work.db, self._ring, with_cards)
            await self._write_finals(work, batch)
            await self._write_unknowns(work, batch)
            await self._write_missing(work, batch)
            await self._write_unsent(work, batch)
            await self._write_queries(work, batch)
            await self._write_incidents(work, batch)
            await self._write_unmapped(work, batch)  # last: others wait for these few rows
            request_tasks = self._count(work, batch)
        for request_task, ended in request_tasks:
            request_task.left -= ended

    async def _write_finals(self, work: UnitOfWork, batch: _Batch) -> None:
        finals = [f for f in batch.outcomes if f.verdict in _FINAL]
        claims = [f for f in batch.outcomes if f.claims]
        if not finals and not claims:
            return
        first: dict[int, Outcome] = {}
        for outcome in finals:
            first.setdefault(outcome.order_no, outcome)
        given = [(f, _FINAL[f.verdict], f.verdict is Verdict.NEVER_SENT) for f in first.values()]
        moved = batch.moved = await store.end(work.db, given) if given else {}
        if with_cards := [one for one in first.values() if one.cards]:
            await cards.issue(work.db, self._ring, self._ids, with_cards, moved)
        await self._end_vouchers(work, first, moved)
        if kept := [no for no, ended in moved.items() if _not_taken_back(ended, first[no])]:
            await cards.restore(work.db, kept)
        for order_no, ended in moved.items():
            events.ended(work, ended, first[order_no])
        if moved:
            results = [result_of(ended, first[no]) for no, ended in moved.items()]
            order_ids = [ended.order_id for ended in moved.values()]
            work.tasks.add(REPORT, Report(results), trace_keys=order_ids)
        if asked := [str(no) for no in moved if first[no].source is not Source.SYNC]:
            work.tasks.finish_for(ASK, asked)
        late = [f for f in finals if f.order_no not in moved or first[f.order_no] is not f]
        await cards.issue_late(work.db, self._ring, self._ids, late)
        if late or claims:
            await self._write_late(work, batch, [*late, *claims])

    async def _end_vouchers(
        self, work: UnitOfWork, first: Mapping[int, Outcome], moved: Mapping[int, EndedDelivery]
    ) -> None:
        """What is reserved for vouchers, of our own stock or by hand, is issued or released with their end.

        Of one whose supplier brings cards what was entered by hand is released: the supplier's are issued.
        """
        ends: dict[bool, list[int]] = {True: [], False: []}
        for order_no, ended in moved.items():
            if ended.service_class == ServiceClass.COUPON:
                outcome = first[order_no]
                issued = outcome.verdict is Verdict.SUCCEEDED and not outcome.cards
                ends[issued].append(order_no)
        if ends[True]:
            await stock_store.issue(work.db, ends[True])
        if ends[False]:
            await stock_store.release(work.db, ends[False])
        if vouchers := [*ends[True], *ends[False]]:
            await missing_store.end(work.db, vouchers)

    async def _write_missing(self, work: UnitOfWork, batch: _Batch) -> None:
        """Successes without cards that can be issued, for a person: what was said, and how often."""
        claims = [
            missing_store.Claim(one.order_no, one.desc, one.raw)
            for one in batch.outcomes
            if one.lacks_cards
        ]
        if claims:
            await missing_store.note(work.db, claims)

    async def _write_late(self, work: UnitOfWork, batch: _Batch, late: Sequence[Outcome]) -> None:
        """Results of ended deliveries: an equal one changes nothing, the first contradiction is reported."""
        there = await store.by_no(work.db, [f.order_no for f in late])
        found: dict[int, tuple[Delivery, Outcome]] = {}
        for outcome in late:
            stands = there.get(outcome.order_no)
            if stands is not None and _contradicts(stands, outcome):
                found.setdefault(outcome.order_no, (stands, outcome))
        if not found:
            return
        # A contradiction that comes again is the same contradiction.
        new = sorted(await store.flag_conflicts(work.db, list(found)))
        for stands, outcome in (found[order_no] for order_no in new):
            later = f"{_word(outcome)} ({outcome.source.name.lower()} {outcome.code})"
            batch.incidents.append((outcome, f"contradicts {stands.status.name.lower()}: {later}"))
            events.conflict(work, stands, outcome)
        for start in range(0, len(new), CONFLICTS_MAX):
            part = [found[order_no] for order_no in new[start : start + CONFLICTS_MAX]]
            work.tasks.add(CONFLICT, Report([r for pair in part for r in _both(*pair)]))
        if new:
            _log.error("result_conflict", order_nos=[str(no) for no in new[:10]])

    async def _write_unknowns(self, work: UnitOfWork, batch: _Batch) -> None:
        unknowns = {f.order_no: f for f in batch.outcomes if f.verdict in _UNKNOWN}
        if not unknowns:
            return
        noted = await store.note_unknown(work.db, list(unknowns.values()))
        for order_no, ended in noted.items():
            outcome = unknowns[order_no]
            if outcome.source is Source.QUERY:
                continue
            events.unknown(work, ended, outcome)
            if outcome.ask_after_s is not None:
                work.tasks.add(
                    ASK,
                    Ask(order_no),
                    order_no=str(order_no),
                    delay_s=outcome.ask_after_s,
                    queue=outcome.queue_name,
                )

    async def _write_unsent(self, work: UnitOfWork, batch: _Batch) -> None:
        if unsent := [f.order_no for f in batch.outcomes if f.verdict is Verdict.NOT_SENT]:
            await store.unsend(work.db, unsent)

    async def _write_queries(self, work: UnitOfWork, batch: _Batch) -> None:
        asked = {
            f.order_no: (
                f.order_no,
                QueryStatus.WAITING if f.verdict in _UNKNOWN else QueryStatus.ENDED,
                f"{f.code} {f.desc}",
            )
            for f in batch.outcomes
            if f.source is Source.QUERY
        }
        if asked:
            await store.count_queries(work.db, list(asked.values()))

    async def _write_incidents(self, work: UnitOfWork, batch: _Batch) -> None:
        batch.incidents += [(f, f.incident) for f in batch.outcomes if f.incident]
        if not batch.incidents:
            return
        there = await store.by_no(work.db, [f.order_no for f, _ in batch.incidents])
        ids = self._ids.take(len(batch.incidents))
        rows = [
            _incident(number, outcome, words, there[outcome.order_no])
            for number, (outcome, words) in zip(ids, batch.incidents, strict=True)
            if outcome.order_no in there
        ]
        await supplier_store.insert_incidents(work.db, rows, self._local_ip)

    async def _write_unmapped(self, work: UnitOfWork, batch: _Batch) -> None:
        """Codes that nothing explains, counted for a person who explains them."""
        unmapped = [one for one in batch.outcomes if one.unmapped]
        if not unmapped:
            return
        there = await store.by_no(work.db, [one.order_no for one in unmapped])
        seen: dict[tuple[str, int, str], unmapped_store.Seen] = {}
        for outcome in unmapped:
            if (found := there.get(outcome.order_no)) is None:
                continue
            code = outcome.code[: unmapped_store.CODE_CHARS_MAX]
            key = (found.channel_no, int(found.service_class), code)
            before = seen.get(key)
            seen[key] = unmapped_store.Seen(
                *key,
                outcome.desc[: unmapped_store.DESC_CHARS_MAX],
                1 if before is None else before.answers + 1,
                found.coop_order_id,
            )
        await unmapped_store.drop(work.db, sorted({(one, kind) for one, kind, _ in seen}))
        await unmapped_store.note(work.db, list(seen.values()))

    def _count(self, work: UnitOfWork, batch: _Batch) -> list[tuple[RequestTask, int]]:
        """Finish the request tasks whose last delivery is accounted for by this batch."""
        counted: dict[int, tuple[RequestTask, int]] = {}
        for outcome in batch.outcomes:
            if outcome.request_task is not None and outcome.verdict is not Verdict.NOT_SENT:
                request_task = outcome.request_task
                counted[id(request_task)] = (
                    request_task,
                    counted.get(id(request_task), (request_task, 0))[1] + 1,
                )
        for request_task, ended in counted.values():
            if request_task.left == ended:
                work.tasks.finish_id(REQUEST, request_task.task_id)
        return list(counted.values())


def result_of(there: EndedDelivery | Delivery, outcome: Outcome) -> Result:
    """How an end is reported to the order service."""
    return Result(
        order_no=there.order_no,
        coop_id=there.coop_id,
        coop_order_id=there.coop_order_id,
        is_return=there.service_class == ServiceClass.COUPON_RETURN,
        succeeded=outcome.verdict is Verdict.SUCCEEDED,
        up_order_no=outcome.up_order_no,
        code=outcome.code,
        desc=outcome.desc,
        params=dict(outcome.params),
    )


def _not_taken_back(ended: EndedDelivery, outcome: Outcome) -> bool:
    """Whether a return failed, so that its cards stay with their partner."""
    failed = outcome.verdict is not Verdict.SUCCEEDED
    return failed and ended.service_class == ServiceClass.COUPON_RETURN


def _contradicts(stands: Delivery, outcome: Outcome) -> bool:
    """Whether a later outcome contradicts the stored result; so does a success of another amount."""
    if outcome.claims:
        return stands.status is Status.FAILED
    if outcome.verdict is Verdict.NEVER_SENT:
        return False
    return stands.status is not _FINAL[outcome.verdict]


def _word(outcome: Outcome) -> str:
    return "success of another amount" if outcome.claims else outcome.verdict.value


def _both(stands: Delivery, outcome: Outcome) -> tuple[Result, Result]:
    """The stored result, then the contradiction: a receiver of the second has the first."""
    later = result_of(stands, outcome)
    later.succeeded, later.contradicts = stands.status is not Status.SUCCEEDED, True
    first = msgspec.structs.replace(
        later,
        succeeded=not later.succeeded,
        up_order_no=stands.up_order_no,
        code=stands.result_code,
        desc=stands.result_desc,
        params=_params(stands.result_params) if stands.result_params else {},
        contradicts=False,
    )
    return first, later


def _incident(number: int, outcome: Outcome, words: str, there: Delivery) -> Incident:
    return Incident(
        id=number,
        coop_id=there.coop_id,
        coop_order_id=there.coop_order_id,
        channel_no=there.channel_no,
        service_class=there.service_class,
        carrier_no=there.carrier_no,
        product_face_micros=there.product_face_micros,
        product_num=there.product_num,
        error_msg=words,
        user_ip=outcome.remote_ip,
        ext_params=outcome.raw or msgspec.json.encode(dict(outcome.params)).decode(),
    )
