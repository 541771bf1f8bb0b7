"""Service packages: capacity bought beforehand, used up by number, with a daily limit and a last day."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

import msgspec

from shoudan_kit.clock import BEIJING
from shoudan_kit.money import MICROS_MAX
from shoudan_kit.rpc.refusal import Refusal
from shoudan_pay.ledger.entries import MoveKey, Package, PackageKey, PackageRecord
from shoudan_pay.ledger.refusals import (
    AccountLocked,
    CapacityTooLow,
    NumberInvalid,
    PackageExpired,
    PackageNotFound,
    PostingDiffers,
    RecordNotFound,
)
from shoudan_pay.ledger.states import CAPACITY_CHANGES, ChangeType
from shoudan_pay.refusals import FieldInvalid

NUMBER_MAX: Final = MICROS_MAX
EXPIRES_NEVER: Final = date(2099, 12, 31)


@dataclass(frozen=True, slots=True)
class Move:
    """One requested movement of capacity; `num` is at least 1, the change gives its direction."""

    package: PackageKey
    trade_no: str
    change_type: int
    num: int
    memo: str = ""


@dataclass(frozen=True, slots=True)
class Moved:
    """A move made, now or before."""

    record: PackageRecord
    existed: bool


@dataclass(frozen=True, slots=True)
class Moves:
    """What became of a batch: one answer per move, the new records, the packages as they are now."""

    answers: list[Moved | Refusal]
    new: list[PackageRecord]
    packages: list[Package]


def check(move: Move) -> None:
    """Refuse what no state of a package could make right: FieldInvalid, NumberInvalid."""
    if move.change_type not in CAPACITY_CHANGES:
        raise FieldInvalid("change_type", f"{move.change_type} is none of 1..4")
    if not 1 <= move.num <= NUMBER_MAX:
        raise NumberInvalid(move.num)


def quoted(move: Move, pkg_id: int) -> list[MoveKey]:
    """The keys of the records the decision needs: the move's own, and the deduct a refund gives back."""
    keys: list[MoveKey] = [(pkg_id, move.change_type, move.trade_no)]
    if move.change_type == ChangeType.REFUND:
        keys.append((pkg_id, int(ChangeType.DEDUCT), move.trade_no))
    return keys


def decide(
    packages: Mapping[PackageKey, Package],
    records: Mapping[MoveKey, PackageRecord],
    moves: Iterable[Move],
    ids: Iterator[int],
    now: datetime,
) -> Moves:
    """One answer per move, each on what those before it left. Pure; the rows are locked by the caller."""
    standing, known = dict(packages), dict(records)
    answers: list[Moved | Refusal] = []
    new: list[PackageRecord] = []
    changed: dict[int, Package] = {}
    for move in moves:
        try:
            package, moved = _move(standing, known, move, ids, now)
        except Refusal as refusal:
            answers.append(refusal)
            continue
        answers.append(moved)
        if not moved.existed:
            standing[move.package] = changed[package.pkg_id] = package
            known[moved.record.key] = moved.record
            new.append(moved.record)
    return Moves(answers, new, list(changed.values()))


def _move(
    packages: Mapping[PackageKey, Package],
    records: Mapping[MoveKey, PackageRecord],
    move: Move,
    ids: Iterator[int],
    now: datetime,
) -> tuple[Package, Moved]:
    package = packages.get(move.package)
    if package is None:
        raise PackageNotFound(move.package[1])
    known = records.get((package.pkg_id, move.change_type, move.trade_no))
    if known is not None:
        if abs(known.num) != move.num:
            raise PostingDiffers(move.trade_no, 0, move.change_type)
        return package, Moved(known, existed=True)
    if package.locked:
        raise AccountLocked(*move.package[0])
    after = _applied(package, records, move, now.astimezone(BEIJING).date())
    record = PackageRecord(
        next(ids),
        package.pkg_id,
        move.trade_no,
        move.change_type,
        after.total_remain - package.total_remain,
        after.total_remain,
        move.memo,
        now,
    )
    return after, Moved(record, existed=False)


def _applied(
    package: Package, records: Mapping[MoveKey, PackageRecord], move: Move, today: date
) -> Package:
    """The package after the move, if the rules allow it today."""
    # What is given back or taken out of an expired package is still right; only use and refill end.
    if today > package.expires and move.change_type in {ChangeType.ADD, ChangeType.DEDUCT}:
        raise PackageExpired(package.spkg_id, package.expires.strftime("%Y%m%d"))
    if move.change_type == ChangeType.ADD:
        return _added(package, move)
    if move.change_type == ChangeType.DRAWING:
        return _drawn(package, move)
    if move.change_type == ChangeType.DEDUCT:
        return _deducted(package, move, today)
    return _refunded(package, records, move, today)


def _with(package: Package, change: int, **others: int | date) -> Package:
    return msgspec.structs.replace(package, total_remain=package.total_remain + change, **others)


def _added(package: Package, move: Move) -> Package:
    total = package.total_capacity + move.num
    if total > NUMBER_MAX or package.total_remain + move.num > NUMBER_MAX:
        raise NumberInvalid(move.num)
    return _with(package, move.num, total_capacity=total)


def _drawn(package: Package, move: Move) -> Package:
    if move.num > package.total_remain:
        raise CapacityTooLow(package.spkg_id, package.total_remain, move.num)
    return _with(package, -move.num, total_capacity=package.total_capacity - move.num)


def _deducted(package: Package, move: Move, today: date) -> Package:
    used = package.used_on(today) + move.num
    left = package.total_remain
    if package.capacity_daily:
        left = min(left, package.capacity_daily - package.used_on(today))
    if move.num > left:
        raise CapacityTooLow(package.spkg_id, left, move.num)
    return _with(package, -move.num, deduct_today=used, deduct_date=today)


def _refunded(
    package: Package, records: Mapping[MoveKey, PackageRecord], move: Move, today: date
) -> Package:
    deduct = records.get((package.pkg_id, int(ChangeType.DEDUCT), move.trade_no))
    if deduct is None:
        raise RecordNotFound(move.trade_no)
    if move.num > abs(deduct.num):
        raise NumberInvalid(move.num)
    used = package.used_on(today)
    if deduct.create_time.astimezone(BEIJING).date() == today:
        used = max(0, used - move.num)
    return _with(package, move.num, deduct_today=used, deduct_date=today)
