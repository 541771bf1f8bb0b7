"""The writing of outcomes: whatever answers, notifies, queries and people say, in batches, once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from shoudan_delivery import events
from shoudan_delivery.kinds import ASK, CONFLICT, REPORT, REQUEST, Ask, Report, Result
from shoudan_delivery.states import QueryStatus, ServiceClass, Source, Status
from shoudan_delivery.store import deliveries as store
from shoudan_delivery.store import suppliers as supplier_store
from shoudan_delivery.store.rows import Chunk, Delivery, Ended, Finding, Incident, Verdict
from shoudan_kit import log
from shoudan_kit.faults import hit
from shoudan_kit.ids import IdMaker
from shoudan_kit.tasks.unit_of_work import UnitOfWork

_log = log.get_logger("ends")
_params = msgspec.json.Decoder(dict[str, str]).decode

_FINAL = {
    Verdict.SUCCEEDED: Status.SUCCEEDED,
    Verdict.FAILED: Status.FAILED,
    Verdict.NEVER_SENT: Status.FAILED,
}
# Contradictions in one report, two results each: a report holds no more than a batch of ends makes.
CONFLICTS_MAX = 250
_UNKNOWN = frozenset({Verdict.UNKNOWN, Verdict.NO_SUCH_ORDER})


@dataclass
class _Batch:
    """What one transaction does, gathered before it is committed."""

    findings: Sequence[Finding]
    moved: dict[int, Ended] = field(default_factory=dict[int, Ended])
    incidents: list[tuple[Finding, str]] = field(default_factory=list[tuple[Finding, str]])


class Ends:
    """One transaction for a batch of findings, tasks and events with it.

    The first final finding of a delivery wins; an equal later one changes nothing; the first different
    later one is written to vds_order_exp, flagged, published and reported to the owner, never applied.
    """

    def __init__(self, work: Callable[[str], UnitOfWork], ids: IdMaker, local_ip: str) -> None:
        self._work, self._ids, self._local_ip = work, ids, local_ip

    async def write(self, findings: Sequence[Finding]) -> None:
        """Write these; they are of any channel and in the order they were found."""
        batch = _Batch(findings)
        hit("delivery.before_end")
        async with self._work("delivery.end") as work:
            await self._write_finals(work, batch)
            await self._write_unknowns(work, batch)
            await self._write_unsent(work, batch)
            await self._write_queries(work, batch)
            await self._write_incidents(work, batch)
            chunks = self._count(work, batch)
        for chunk, ended in chunks:
            chunk.left -= ended

    async def _write_finals(self, work: UnitOfWork, batch: _Batch) -> None:
        finals = [f for f in batch.findings if f.verdict in _FINAL]
        claims = [f for f in batch.findings if f.claims]
        if not finals and not claims:
            return
        first: dict[int, Finding] = {}
        for finding in finals:
            first.setdefault(finding.order_no, finding)
        given = [(f, _FINAL[f.verdict], f.verdict is Verdict.NEVER_SENT) for f in first.values()]
        moved = batch.moved = await store.end(work.db, given) if given else {}
        for order_no, ended in moved.items():
            events.ended(work, ended, first[order_no])
        if moved:
            results = [_result(ended, first[no]) for no, ended in moved.items()]
            work.tasks.add(REPORT, Report(results))
        if asked := [str(no) for no in moved if first[no].source is not Source.SYNC]:
            work.tasks.finish_for(ASK, asked)
        late = [f for f in finals if f.order_no not in moved or first[f.order_no] is not f]
        if late or claims:
            await self._write_late(work, batch, [*late, *claims])

    async def _write_late(self, work: UnitOfWork, batch: _Batch, late: Sequence[Finding]) -> None:
        """Results that came second: equal ones change nothing, the first contradiction is told on."""
        there = await store.by_no(work.db, [f.order_no for f in late])
        found: dict[int, tuple[Delivery, Finding]] = {}
        for finding in late:
            stands = there.get(finding.order_no)
            if stands is not None and _contradicts(stands, finding):
                found.setdefault(finding.order_no, (stands, finding))
        if not found:
            return
        # However often it is told again, a contradiction is one.
        new = sorted(await store.flag_conflicts(work.db, list(found)))
        for stands, finding in (found[order_no] for order_no in new):
            told = f"{_word(finding)} ({finding.source.name.lower()} {finding.code})"
            batch.incidents.append((finding, f"contradicts {stands.status.name.lower()}: {told}"))
            events.conflict(work, stands, finding)
        for start in range(0, len(new), CONFLICTS_MAX):
            part = [found[order_no] for order_no in new[start : start + CONFLICTS_MAX]]
            work.tasks.add(CONFLICT, Report([r for pair in part for r in _both(*pair)]))
        if new:
            _log.error("result_conflict", order_nos=[str(no) for no in new[:10]])

    async def _write_unknowns(self, work: UnitOfWork, batch: _Batch) -> None:
        unknowns = {f.order_no: f for f in batch.findings if f.verdict in _UNKNOWN}
        if not unknowns:
            return
        noted = await store.note_unknown(work.db, list(unknowns.values()))
        for order_no, ended in noted.items():
            finding = unknowns[order_no]
            if finding.source is Source.QUERY:
                continue
            events.unknown(work, ended, finding)
            if finding.ask_after_s is not None:
                work.tasks.add(
                    ASK,
                    Ask(order_no),
                    order_no=str(order_no),
                    delay_s=finding.ask_after_s,
                    queue=finding.queue_name,
                )

    async def _write_unsent(self, work: UnitOfWork, batch: _Batch) -> None:
        if unsent := [f.order_no for f in batch.findings if f.verdict is Verdict.NOT_SENT]:
            await store.unsend(work.db, unsent)

    async def _write_queries(self, work: UnitOfWork, batch: _Batch) -> None:
        asked = {
            f.order_no: (
                f.order_no,
                QueryStatus.WAITING if f.verdict in _UNKNOWN else QueryStatus.ENDED,
                f"{f.code} {f.desc}",
            )
            for f in batch.findings
            if f.source is Source.QUERY
        }
        if asked:
            await store.count_queries(work.db, list(asked.values()))

    async def _write_incidents(self, work: UnitOfWork, batch: _Batch) -> None:
        batch.incidents += [(f, f.incident) for f in batch.findings if f.incident]
        if not batch.incidents:
            return
        there = await store.by_no(work.db, [f.order_no for f, _ in batch.incidents])
        ids = self._ids.take(len(batch.incidents))
        rows = [
            _incident(number, finding, words, there[finding.order_no])
            for number, (finding, words) in zip(ids, batch.incidents, strict=True)
            if finding.order_no in there
        ]
        await supplier_store.insert_incidents(work.db, rows, self._local_ip)

    def _count(self, work: UnitOfWork, batch: _Batch) -> list[tuple[Chunk, int]]:
        """Finish the request tasks whose last delivery is accounted for by this batch."""
        counted: dict[int, tuple[Chunk, int]] = {}
        for finding in batch.findings:
            if finding.chunk is not None and finding.verdict is not Verdict.NOT_SENT:
                chunk = finding.chunk
                counted[id(chunk)] = (chunk, counted.get(id(chunk), (chunk, 0))[1] + 1)
        for chunk, ended in counted.values():
            if chunk.left == ended:
                work.tasks.finish_id(REQUEST, chunk.task_id)
        return list(counted.values())


def _result(ended: Ended, finding: Finding) -> Result:
    return Result(
        order_no=ended.order_no,
        coop_id=ended.coop_id,
        coop_order_id=ended.coop_order_id,
        is_return=ended.service_class == ServiceClass.COUPON_RETURN,
        succeeded=finding.verdict is Verdict.SUCCEEDED,
        up_order_no=finding.up_order_no,
        code=finding.code,
        desc=finding.desc,
        params=dict(finding.params),
    )


def _contradicts(stands: Delivery, finding: Finding) -> bool:
    """Whether a later word tells the other end; a success of another amount tells one, too."""
    if finding.claims:
        return stands.status is Status.FAILED
    if finding.verdict is Verdict.NEVER_SENT:
        return False
    return stands.status is not _FINAL[finding.verdict]


def _word(finding: Finding) -> str:
    return "success of another amount" if finding.claims else finding.verdict.value


def _both(stands: Delivery, finding: Finding) -> tuple[Result, Result]:
    """What stands, then the word against it: whoever is told the second knows the first."""
    first = Result(
        order_no=stands.order_no,
        coop_id=stands.coop_id,
        coop_order_id=stands.coop_order_id,
        is_return=stands.service_class == ServiceClass.COUPON_RETURN,
        succeeded=stands.status is Status.SUCCEEDED,
        up_order_no=stands.up_order_no,
        code=stands.result_code,
        desc=stands.result_desc,
        params=_params(stands.result_params) if stands.result_params else {},
    )
    later = msgspec.structs.replace(
        first,
        succeeded=not first.succeeded,
        up_order_no=finding.up_order_no,
        code=finding.code,
        desc=finding.desc,
        params=dict(finding.params),
        contradicts=True,
    )
    return first, later


def _incident(number: int, finding: Finding, words: str, there: Delivery) -> Incident:
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
        user_ip=finding.remote_ip,
        ext_params=finding.raw or msgspec.json.encode(dict(finding.params)).decode(),
    )
