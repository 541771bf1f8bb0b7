"""Promises of the checker: it finds what is planted, and nothing in a run in which all went well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos import checker
from tests.chaos.history import OK, REFUSED, UNCLEAR, Call, History, Letter
from tests.chaos.plan import Plan, Wanted

MICROS = 1_000_000
KINDS = ("card", "poor", "voucher")


def order(no: str, status: int, amount: int, **more: Any) -> dict[str, Any]:
    return {
        "order_id": f"1{no[2:]}",
        "request_no": no,
        "down_channel_no": "test",
        "order_status": status,
        "notify_status": 0,
        "sell_amount_micros": amount,
        "payment_status": 0,
        "parked_reason": "",
        "refunds": 0,
        **more,
    }


class Case:
    """A small run in which everything went well."""

    def __init__(self) -> None:
        wanted = [
            Wanted(0, number, kind, "0000", False, False, True, "")
            for number, kind in enumerate(KINDS)
        ]
        self.plan = Plan(1, "smoke", [], wanted)
        self.history = History()
        for number in range(len(KINDS)):
            self.call("order", number, OK, 30)
            self.call("query", number, OK, 30)
        self.call("query", 0, OK, 0)
        self.call("differs", 0, REFUSED, None, 409)
        self.call("query", 2, OK, 0)
        self.call("query", 2, OK, 90)  # given back
        self.letter("c-0", 0)
        self.letter("c-1", 90)
        self.letter("c-2", 0)
        self.letter("c-2 r-c-2", 0)
        self.orders = [
            order("c-0", 0, 198 * MICROS),
            order("c-1", 90, 198 * MICROS, payment_status=90),
            order("c-2", 90, 47_500_000, refunds=1),
        ]
        refund = {"request_no": "c-2", "down_refund_no": "r-c-2", "refund_status": 0}
        self.refunds = [refund | {"refund_notify_status": 0}]

    def call(
        self, what: str, number: int, end: str, status: int | None, code: int | None = None
    ) -> None:
        at = float(len(self.history.calls))
        self.history.calls.append(
            Call(at, what, f"c-{number}", end, f"1{number}" if end == OK else "", status, code)
        )

    def letter(self, key: str, status: int, *, acknowledged: bool = True) -> None:
        self.history.letters.append(Letter(0, key, status, acknowledged))

    def broken(self) -> list[str]:
        given_back = {one["request_no"] for one in self.orders if one["refunds"]}
        return [
            *checker.acknowledged_is_kept(self.history, self.orders),
            *checker.one_answer_per_key(self.history),
            *checker.ended_stays_ended(self.history, given_back),
            *checker.found_after_taken(self.history),
            *checker.first_request_counts(self.history),
            *checker.sums_are_those_asked(self.plan, self.orders),
            *checker.told_the_end(self.history, self.orders, self.refunds),
            *checker.nothing_else(self.plan, self.history, self.orders),
            *checker.never_taken(self.plan, self.history),
            *checker.refused_orders(self.plan, self.history),
            *checker.of_itself(self.plan, self.orders),
        ]


def lost(case: Case) -> None:
    del case.orders[0]


def another_number(case: Case) -> None:
    case.orders[0]["order_id"] = "99"


def two_answers(case: Case) -> None:
    case.history.calls.append(Call(9, "order", "c-0", OK, "77", 30))


def runs_again(case: Case) -> None:
    case.call("query", 0, OK, 30)


def fails_after_it_succeeded(case: Case) -> None:
    case.call("query", 0, OK, 90)


def unknown_after_taken(case: Case) -> None:
    case.call("query", 0, REFUSED, None, 404)


def second_request_taken(case: Case) -> None:
    case.call("differs", 0, OK, 30)


def another_price(case: Case) -> None:
    case.orders[0]["sell_amount_micros"] += 1


def paid_without_money(case: Case) -> None:
    case.orders[1]["payment_status"] = 0


def never_acknowledged(case: Case) -> None:
    case.history.letters[0] = Letter(0, "c-0", 0, False)


def refund_never_acknowledged(case: Case) -> None:
    del case.history.letters[3]


def told_another_end(case: Case) -> None:
    case.letter("c-0", 90)


def not_told(case: Case) -> None:
    case.orders[0]["notify_status"] = 30


def told_of_nothing(case: Case) -> None:
    case.letter("c-9", 0)


def no_clear_answer(case: Case) -> None:
    case.history.calls = [one for one in case.history.calls if one.key != "c-1"]
    case.call("order", 1, UNCLEAR, None)


def refused(case: Case) -> None:
    case.call("order", 0, REFUSED, None, 904)


def does_not_end(case: Case) -> None:
    case.orders[0]["order_status"] = 20


PLANTED: dict[Callable[[Case], None], str] = {
    lost: "H1",
    another_number: "H1",
    two_answers: "H2",
    runs_again: "H3",
    fails_after_it_succeeded: "H3",
    unknown_after_taken: "H5",
    second_request_taken: "I6",
    another_price: "H6",
    paid_without_money: "H4",
    never_acknowledged: "I15",
    refund_never_acknowledged: "I15",
    told_another_end: "I15",
    not_told: "I15",
    told_of_nothing: "I15",
    no_clear_answer: "L",
    refused: "L",
    does_not_end: "c-0: 20",
}


def test_a_run_in_which_all_went_well_breaks_nothing() -> None:
    assert Case().broken() == []


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_what_is_planted_is_found(plant: Callable[[Case], None]) -> None:
    case = Case()
    plant(case)
    assert any(line.startswith(PLANTED[plant]) for line in case.broken()), case.broken()


def test_an_order_that_nobody_asked_for_is_found() -> None:
    case = Case()
    fewer = Plan(1, "smoke", [], case.plan.orders[:-1])
    found = checker.nothing_else(fewer, case.history, case.orders)
    assert found == ["I5 c-2 was asked for by nobody"]
