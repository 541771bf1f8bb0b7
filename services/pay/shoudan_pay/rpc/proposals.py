"""The ledger's methods that need two persons, made in the transaction of an approval."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan.pay.v1 import setup_service_pb2 as setup_pb
from shoudan_kit.money import micros_to_yuan
from shoudan_kit.proposals.kinds import Applied, Effect, Kind
from shoudan_kit.proposals.work import Decidable, decide_work
from shoudan_kit.rpc.refusal import Refusal
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_pay import setup
from shoudan_pay.config import PaySettings
from shoudan_pay.ledger import accounts, events, package_moves
from shoudan_pay.ledger.chain_hash import Stamp, stamp_of
from shoudan_pay.ledger.entries import Decision, Key, PackageKey, Posting
from shoudan_pay.ledger.group_commit import Answer, post
from shoudan_pay.ledger.states import ChangeType, TradeType
from shoudan_pay.ledger.store import accounts as store
from shoudan_pay.payserver.components import Components
from shoudan_pay.refusals import FieldInvalid
from shoudan_pay.rpc import ledger_messages
from shoudan_pay.rpc.accounts import ITEMS_MAX, read_change, read_new
from shoudan_pay.rpc.packages import MOVES_MAX, read_new_package
from shoudan_pay.rpc.postings import POSTINGS_MAX
from shoudan_pay.rpc.setup import read_setup

LEDGER: Final = "shoudan.pay.v1.LedgerService"


def kinds(
    settings: PaySettings, sources: Sequence[Decidable], components: Components
) -> Sequence[Kind]:
    """Every method of this service with approvers."""
    stamp, exempt = stamp_of(settings), settings.limit_exempt_groups
    return (
        decide_work(sources),
        Kind(
            "shoudan.pay.v1.SetupService/ApplySetup",
            setup_pb.ApplySetupRequest,
            lambda asked: (
                0 if asked.dry_run else None
            ),  # only its difference to what is there counts
            partial(_setup, stamp, exempt),
            prepare=partial(_check_templates, components, exempt),
        ),
        Kind(f"{LEDGER}/Post", pb.PostRequest, _posted, partial(_post, stamp)),
        Kind(f"{LEDGER}/PostEntries", pb.PostEntriesRequest, _all_posted, partial(_entries, stamp)),
        Kind(
            f"{LEDGER}/CreateAccounts",
            pb.CreateAccountsRequest,
            lambda asked: sum(abs(item.credit_micros) for item in asked.items),
            partial(_create, exempt),
        ),
        Kind(
            f"{LEDGER}/UpdateAccount",
            pb.UpdateAccountRequest,
            lambda asked: abs(asked.credit_micros),  # name and lock move nothing
            _update,
        ),
        Kind(
            f"{LEDGER}/CreatePackage",
            pb.CreatePackageRequest,
            lambda asked: None if asked.total_capacity else 0,  # capacity is no money: no amount
            _create_package,
        ),
        Kind(f"{LEDGER}/MoveCapacity", pb.MoveCapacityRequest, lambda _: None, _move_capacity),
    )


# ---------------------------------------------------------------- postings
def _posted(request: pb.PostRequest) -> int | None:
    return _amount([request.posting])


def _all_posted(request: pb.PostEntriesRequest) -> int | None:
    return _amount(one for group in request.groups for one in group.postings)


def _amount(postings: Iterable[pb.Posting]) -> int | None:
    """The sum of what they move; None when one leaves its amount to the ledger: a reversal."""
    there = [one for one in postings if not one.void]
    unsaid = any(not one.amount_micros for one in there)
    return None if unsaid else sum(abs(one.amount_micros) for one in there)


async def _post(stamp: Stamp, work: UnitOfWork, request: pb.PostRequest) -> Applied:
    return await _groups(stamp, work, [[ledger_messages.posting(request.posting)]])


async def _entries(stamp: Stamp, work: UnitOfWork, request: pb.PostEntriesRequest) -> Applied:
    if not 1 <= sum(len(group.postings) for group in request.groups) <= POSTINGS_MAX:
        raise FieldInvalid("groups", f"have not 1 to {POSTINGS_MAX} postings")
    asked = [list(map(ledger_messages.posting, group.postings)) for group in request.groups]
    return await _groups(stamp, work, asked)


async def _groups(stamp: Stamp, work: UnitOfWork, asked: Sequence[Sequence[Posting]]) -> Applied:
    """Post all of it or nothing: a proposal is approved whole. Raises the refusal of the first group."""
    answer = await post(work, asked, stamp)
    for decision in answer.decisions:
        if decision.refusal is not None:
            raise decision.refusal
    moved = (abs(one.amount_micros) for group in answer.decisions for one in group.new)
    return Applied(_effects(answer), _named(asked), sum(moved))


def _effects(answer: Answer) -> list[Effect]:
    return [effect for decision in answer.decisions for effect in _of_decision(decision, answer)]


def _of_decision(decision: Decision, answer: Answer) -> Iterable[Effect]:
    """The balance that each record left; one that was there before changes nothing now."""
    new = {record.record_id for record in decision.new}
    for record in decision.records:
        what = f"balance of {_owner(answer.accounts[record.account_id].key)}, 元"
        after = micros_to_yuan(record.balance_micros)
        if record.record_id in new:
            yield Effect(what, micros_to_yuan(record.balance_micros - record.amount_micros), after)
        else:
            yield Effect(f"{what}, posted before as {record.trade_no}", after, after)


def _named(asked: Sequence[Sequence[Posting]]) -> str:
    first = asked[0][0]
    more = sum(map(len, asked)) - 1
    word = ChangeType(first.change_type).name.lower()
    if first.trade_type == TradeType.REVERSE:
        word = f"reversal of {word} {first.ext_no}"
    amount = f" {micros_to_yuan(first.amount_micros)} 元" if first.amount_micros else ""
    rest = f", and {more} more" if more else ""
    return f"{word}{amount}, {_owner(first.account)}, trade {first.trade_no}{rest}"


# ---------------------------------------------------------------- accounts
async def _create(
    exempt: Sequence[str], work: UnitOfWork, request: pb.CreateAccountsRequest
) -> Applied:
    """Make accounts with credit."""
    if not 1 <= len(request.items) <= ITEMS_MAX:
        raise FieldInvalid("items", f"has not 1 to {ITEMS_MAX}")
    wanted = [read_new(item, exempt) for item in request.items]
    made = await accounts.create(work.db, wanted)
    effects = [
        Effect(
            f"credit of {_owner(one.account.key)}, 元",
            micros_to_yuan(one.account.credit_micros) if one.existed else "no account",
            micros_to_yuan(one.account.credit_micros),
        )
        for one in made
    ]
    new = sum(one.account.credit_micros for one in made if not one.existed)
    return Applied(effects, f"make {len(made)} accounts, {_owner(wanted[0].key)} first", new)


async def _update(work: UnitOfWork, request: pb.UpdateAccountRequest) -> Applied:
    """Change name, credit or lock of an account."""
    key, wanted = read_change(request)
    before = (await store.lock(work.db, [key])).get(key)
    (after,) = await accounts.change(work.db, {key: wanted})
    assert before is not None, "change() refuses what is not there"
    events.account_changed(work.events, after)
    owner = _owner(key)
    shown = (
        (f"name of {owner}", before.name, after.name),
        (
            f"credit of {owner}, 元",
            micros_to_yuan(before.credit_micros),
            micros_to_yuan(after.credit_micros),
        ),
        (f"lock of {owner}", _lock(before.locked), _lock(after.locked)),
    )
    effects = [Effect(*one) for one in shown if one[1] != one[2]]
    amount = None if wanted.credit_micros is None else wanted.credit_micros
    return Applied(effects, f"change account {owner}", amount)


# ---------------------------------------------------------------- configuration
async def _setup(
    stamp: Stamp, exempt: Sequence[str], work: UnitOfWork, request: setup_pb.ApplySetupRequest
) -> Applied:
    """Make accounts, templates and packages as a configuration file says."""
    if request.dry_run:
        raise FieldInvalid("dry_run", "is not proposed")
    made = await setup.apply_in(work, read_setup(request, exempt), stamp)
    effects = [Effect(one, "", "changed") for one in made.lines]
    return Applied(effects, f"configuration: {len(effects)} changes", made.amount_micros)


async def _check_templates(
    components: Components, exempt: Sequence[str], request: setup_pb.ApplySetupRequest
) -> None:
    await setup.check_templates(components, read_setup(request, exempt))


# ---------------------------------------------------------------- packages
async def _create_package(work: UnitOfWork, request: pb.CreatePackageRequest) -> Applied:
    """Make a package with capacity."""
    new = read_new_package(request)
    found, existed = await package_moves.create(work.db, new)
    after = str(found.packages[new.key].total_capacity)
    what = f"capacity of {_package(new.key)}"
    effect = Effect(what, after if existed else "no package", after)
    return Applied([effect], f"make package {_package(new.key)}")


async def _move_capacity(work: UnitOfWork, request: pb.MoveCapacityRequest) -> Applied:
    """Move capacity, all of it or nothing."""
    if not 1 <= len(request.moves) <= MOVES_MAX:
        raise FieldInvalid("moves", f"has not 1 to {MOVES_MAX}")
    moves = list(map(ledger_messages.move, request.moves))
    effects: list[Effect] = []
    for asked, answer in zip(moves, await package_moves.move(work, moves), strict=True):
        if isinstance(answer, Refusal):
            raise answer
        what, record = f"capacity of {_package(asked.package)}", answer.record
        before = record.remain if answer.existed else record.remain - record.num
        effects.append(Effect(what, str(before), str(record.remain)))
    more = f", and {len(moves) - 1} more" if moves[1:] else ""
    word = ChangeType(moves[0].change_type).name.lower()
    return Applied(effects, f"{word} {moves[0].num} of {_package(moves[0].package)}{more}")


def _package(key: PackageKey) -> str:
    return f"{_owner(key[0])}/{key[1]}"


def _lock(locked: bool) -> str:
    return "locked" if locked else "open"


def _owner(key: Key) -> str:
    return "/".join(key)
