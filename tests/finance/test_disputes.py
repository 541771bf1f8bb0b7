"""Promises of disputes: a letter with a deadline, its exceptions, the answer that opens them again."""

from __future__ import annotations

from typing import Any

from shoudan.finance.v1 import exception_service_pb2 as pb
from tests.finance.books import TODAY
from tests.finance.desk import Desk
from tests.finance.test_day_books import refused


async def test_a_dispute_has_a_letter_a_deadline_and_an_answer(desk: Desk) -> None:
    numbers = await desk.differ(3)
    request = pb.OpenDisputeRequest(
        source=desk.source,
        exception_ids=numbers[:2],
        letter="these were not charged",
        deadline=TODAY.isoformat(),
        by="li",
    )
    opened_one = (await desk.stub.OpenDispute(request)).dispute
    assert (opened_one.exceptions, opened_one.diff_micros) == (2, 2 * 98 * 1_000_000)
    assert (await desk.stub.OpenDispute(request)).dispute == opened_one
    for letter, of_it in (
        ("another letter", numbers[:2]),
        (request.letter, numbers[:1]),
        (request.letter, numbers),
    ):
        other = pb.OpenDisputeRequest()
        other.CopyFrom(request)
        other.letter, other.exception_ids[:] = letter, of_it
        assert await refused(desk.stub.OpenDispute(other)) == "EXCEPTION_DECIDED"
    strange = pb.OpenDisputeRequest()
    strange.CopyFrom(request)
    strange.source, strange.exception_ids[:] = "other", [numbers[2]]
    assert await refused(desk.stub.OpenDispute(strange)) == "FIELD_INVALID"
    answer = pb.AnswerDisputeRequest(dispute_id=opened_one.dispute_id, answer="charged next month")
    for _ in range(2):  # a repeat changes nothing
        found = (await desk.stub.AnswerDispute(answer)).dispute
        assert (found.status, found.answer) == (pb.DISPUTE_STATUS_ANSWERED, "charged next month")
    assert {one.status for one in await desk.listed()} == {pb.EXCEPTION_STATUS_OPEN}
    kinds = [one.kind for one in (await desk.get(numbers[0])).notes]
    assert kinds == ["disputed", "answered"]
    listed = (await desk.stub.ListDisputes(pb.ListDisputesRequest(page_size=1))).disputes
    assert [one.dispute_id for one in listed] == [opened_one.dispute_id]
    assert await refused(
        desk.stub.AnswerDispute(pb.AnswerDisputeRequest(dispute_id=1, answer="x"))
    ) == ("DISPUTE_NOT_FOUND")


async def test_a_dispute_has_its_exceptions_and_an_exception_its_disputes(desk: Desk) -> None:
    numbers = await desk.differ(3)

    async def dispute(*which: int) -> int:
        request = pb.OpenDisputeRequest(
            source=desk.source, exception_ids=which, letter="!", deadline=TODAY.isoformat()
        )
        return (await desk.stub.OpenDispute(request)).dispute.dispute_id

    async def of(which: int, **more: Any) -> list[int]:
        found = await desk.listed(**{"undecided": False, "dispute_id": which, **more})
        return [one.exception_id for one in found]

    first = await dispute(*numbers[:2])
    answer = pb.AnswerDisputeRequest(dispute_id=first, answer="no")
    await desk.stub.AnswerDispute(answer)
    second = await dispute(*numbers[1:])
    assert await of(first) == [numbers[1], numbers[0]]  # newest first, also after a second one
    assert await of(second) == [numbers[2], numbers[1]]
    assert [one.dispute_id for one in (await desk.get(numbers[1])).disputes] == [second, first]
    assert [one.dispute_id for one in (await desk.get(numbers[0])).disputes] == [first]
    shown = (await desk.stub.GetDispute(pb.GetDisputeRequest(dispute_id=first))).dispute
    assert (shown.status, shown.exceptions) == (pb.DISPUTE_STATUS_ANSWERED, 2)
    assert await refused(desk.stub.GetDispute(pb.GetDisputeRequest(dispute_id=1))) == (
        "DISPUTE_NOT_FOUND"
    )
    assert await of(1) == []
    request = pb.ListExceptionsRequest(dispute_id=first, page_size=1)
    page = await desk.stub.ListExceptions(request)
    request.page_token = page.next_page_token
    rest = await desk.stub.ListExceptions(request)
    assert [page.exceptions[0].exception_id, rest.exceptions[0].exception_id] == numbers[1::-1]
    assert rest.next_page_token == ""
    await desk.stub.DecideExceptions(desk.decision(numbers[0]))
    assert await of(first, undecided=True) == [numbers[1]]
    # What the release before opened is known by the exceptions alone.
    await desk.harness.sql("DELETE FROM dispute_exception")
    assert await of(second) == [numbers[2], numbers[1]]
    assert [one.dispute_id for one in (await desk.get(numbers[2])).disputes] == [second]


async def test_a_supplier_answers_its_own_dispute_by_a_signed_call(desk: Desk) -> None:
    (number,) = await desk.differ(1)
    opening = pb.OpenDisputeRequest(
        source=desk.source, exception_ids=[number], letter="why?", deadline=str(TODAY), by="li"
    )
    dispute_id = (await desk.stub.OpenDispute(opening)).dispute.dispute_id

    def answer(source: str, words: str, which: int = dispute_id) -> Any:
        request = pb.TakeDisputeAnswerRequest(
            dispute_id=which, answer=words, channel_no=source, method="POST",
            path="/vds/dispute/answer", params={"sign": "00ff"}, remote_ip="10.0.0.1",
        )  # fmt: skip
        return desk.stub.TakeDisputeAnswer(request)

    assert await refused(answer("another", "mine")) == "DISPUTE_NOT_FOUND"
    assert await refused(answer(desk.source, "mine", 1)) == "DISPUTE_NOT_FOUND"
    desk.harness.door.refuses = True
    assert await refused(answer(desk.source, "forged")) == "NOTIFY_UNVERIFIED"
    desk.harness.door.refuses = False
    assert (await desk.get(number)).exception.status == pb.EXCEPTION_STATUS_DISPUTED
    for words in ("charged next month", "changed our mind"):  # the first one stands
        found = (await answer(desk.source, words)).dispute
        assert (found.status, found.answer) == (pb.DISPUTE_STATUS_ANSWERED, "charged next month")
    assert desk.harness.door.calls[-1].channel_no == desk.source
    last = (await desk.get(number)).notes[-1]
    assert (last.kind, last.by) == ("answered", f"supplier {desk.source}")
