"""Built-in ways of paying: pays and refunds on the ledger's accounts and packages, in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from shoudan_kit.rpc.refusal import Refusal
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_pay.ledger import group_commit, packages
from shoudan_pay.ledger.chain_hash import Stamp
from shoudan_pay.ledger.entries import MoveKey, Package, PackageKey, PackageRecord, Posting
from shoudan_pay.ledger.packages import Move
from shoudan_pay.ledger.refusals import PackageNotFound
from shoudan_pay.ledger.states import About, ChangeType, TradeType
from shoudan_pay.ledger.store import packages as package_store
from shoudan_pay.payserver import rules
from shoudan_pay.payserver.protocol import AnswerKind, ComponentAnswer
from shoudan_pay.payserver.rules import Method
from shoudan_pay.payserver.settlement import FinalResult
from shoudan_pay.payserver.store.pays import PayOrder
from shoudan_pay.payserver.store.refunds import RefundOrder

_TRADE: Final = int(TradeType.TRADE)
_DEDUCT: Final = int(ChangeType.DEDUCT)
_REFUND: Final = int(ChangeType.REFUND)
_PAY: Final = int(About.PAY)

# What resultCode says of a pay the ledger refused, in the ledger's documented words.
WORDS: Final = {
    "ERROR_REASON_ACCOUNT_NOT_FOUND": "908 帐户不存在",
    "ERROR_REASON_BALANCE_TOO_LOW": "904 帐户余额不足",
    "ERROR_REASON_ACCOUNT_LOCKED": "401 账户未启用",
    "ERROR_REASON_PACKAGE_NOT_FOUND": "908 服务包不存在",
    "ERROR_REASON_CAPACITY_TOO_LOW": "904 服务包剩余数量不足",
    "ERROR_REASON_PACKAGE_EXPIRED": "904 服务包已过期",
    "ERROR_REASON_FIELD_INVALID": "903 支付参数错误",
}
OTHERWISE: Final = "901 暂时无法扣款"


@dataclass(frozen=True, slots=True)
class _Capacity:
    """All that one pay or refund moves of packages: whole or not at all."""

    number: str
    moves: list[Move]


async def take(work: UnitOfWork, pays: Sequence[PayOrder], stamp: Stamp) -> list[FinalResult]:
    """Take each pay from its account or packages; the ledger's result of each, in order."""
    refused: dict[str, Refusal] = {}
    groups: list[list[Posting]] = []
    capacities: list[_Capacity] = []
    for pay in pays:
        try:
            if pay.method == Method.ACCOUNT:
                account = rules.account_of(pay.template_id, pay.merchant_uuid, pay.params)
                moved = -pay.amount_micros
                groups.append(
                    [Posting(account, pay.traction_no, _DEDUCT, _TRADE, moved, about=_PAY)]
                )
            else:
                uses = rules.uses_of(pay.merchant_uuid, pay.params)
                moves = [Move(key, pay.traction_no, _DEDUCT, n) for key, n in uses.items()]
                capacities.append(_Capacity(pay.traction_no, moves))
        except Refusal as refusal:
            refused[pay.traction_no] = refusal
    refused |= await _post(work, groups, stamp)
    refused |= await _move(work, capacities)
    return [_said(pay.traction_no, refused) for pay in pays]


async def give_back(
    work: UnitOfWork, refunds: Sequence[tuple[RefundOrder, PayOrder]], stamp: Stamp
) -> list[FinalResult]:
    """Give each refund back where its pay was taken; the ledger's result of each, in order."""
    groups: list[list[Posting]] = []
    capacities: list[_Capacity] = []
    for refund, pay in refunds:
        number, taken = refund.traction_no, pay.traction_no
        if pay.method == Method.ACCOUNT:
            account = rules.account_of(pay.template_id, pay.merchant_uuid, pay.params)
            amount = refund.amount_micros
            groups.append(
                [Posting(account, number, _REFUND, _TRADE, amount, ext_no=taken, about=_PAY)]
            )
        else:
            uses = rules.uses_of(pay.merchant_uuid, pay.params)
            # A package's refund has the number of its deduct.
            moves = [Move(key, taken, _REFUND, n) for key, n in uses.items()]
            capacities.append(_Capacity(number, moves))
    refused = {**await _post(work, groups, stamp), **await _move(work, capacities)}
    return [_said(refund.traction_no, refused) for refund, _ in refunds]


def _said(number: str, refused: Mapping[str, Refusal]) -> FinalResult:
    """The ledger's result, as a component's answer."""
    no = refused.get(number)
    if no is None:
        return FinalResult(number, ComponentAnswer(AnswerKind.SUCCESS, number))
    return FinalResult(
        number, ComponentAnswer(AnswerKind.FAILED, reason=WORDS.get(no.reason, OTHERWISE))
    )


async def _post(
    work: UnitOfWork, groups: Sequence[Sequence[Posting]], stamp: Stamp
) -> dict[str, Refusal]:
    if not groups:
        return {}
    answer = await group_commit.post(work, groups, stamp)
    return {
        group[0].trade_no: decision.refusal
        for group, decision in zip(groups, answer.decisions, strict=True)
        if decision.refusal is not None
    }


async def _move(work: UnitOfWork, wanted: Sequence[_Capacity]) -> dict[str, Refusal]:
    """Each whole or not at all, each on what those before it left."""
    if not wanted:
        return {}
    keys = {move.package for one in wanted for move in one.moves}
    found = await package_store.by_key(work.db, keys, lock=True)
    if found.now is None:
        return {one.number: PackageNotFound(one.moves[0].package[1]) for one in wanted}
    known = await package_store.records_by_key(work.db, list(_known(found.packages, wanted)))
    ids = iter(work.ids.take(sum(len(one.moves) for one in wanted)))
    standing, refused = dict(found.packages), dict[str, Refusal]()
    written: list[PackageRecord] = []
    touched: set[PackageKey] = set()
    for one in wanted:
        decided = packages.decide(standing, known, one.moves, ids, found.now)
        no = next((answer for answer in decided.answers if isinstance(answer, Refusal)), None)
        if no is not None:
            refused[one.number] = no
            continue
        standing |= {package.key: package for package in decided.packages}
        known |= {record.key: record for record in decided.new}
        written += decided.new
        touched |= {package.key for package in decided.packages}
    if written:
        await package_store.write(work.db, written, [standing[key] for key in touched])
    return refused


def _known(standing: dict[PackageKey, Package], wanted: Iterable[_Capacity]) -> Iterator[MoveKey]:
    """The keys of the records that the moves repeat or give back."""
    for one in wanted:
        for move in one.moves:
            if (package := standing.get(move.package)) is not None:
                yield from packages.quoted(move, package.pkg_id)
