"""The methods that need two persons, as declarations: how a call is made, and how much money it is about."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
from google.protobuf.message import Message
from sqlalchemy import TextClause

from shoudan_kit.tasks.unit_of_work import UnitOfWork


class Effect(msgspec.Struct, frozen=True, array_like=True):
    """One thing that a call changes, before and after it, for people."""

    what: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Applied:
    """What a call changed: `subject` says what it is about; `amount_micros` None when unknown."""

    effects: Sequence[Effect]
    subject: str
    amount_micros: int | None = None


Apply: TypeAlias = Callable[[UnitOfWork, Any], Awaitable[Applied]]
Finish: TypeAlias = Callable[[UnitOfWork, Applied], Awaitable[None]]
Steps: TypeAlias = Callable[[Any, Finish], Awaitable[None]]
Prepare: TypeAlias = Callable[[Any], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class DayBound:
    """How much of one unit an operator may do alone in a day: `counts` is the statement that adds up."""

    counts: TextClause
    most: int


@dataclass(frozen=True, slots=True)
class Kind:
    """One method of two persons.

    `apply` makes the call inside the transaction it is given and raises the service's refusals. The dry run
    is the same code, rolled back, so it must change nothing but the database. `amount` says from the request
    how much money a call is about: 0 when it moves none, None when only the database knows. `roles` are the
    only approvers where they are fewer than the method's. `prepare` runs before the transaction: it calls
    other services; it is repeatable and does no harm should the approval fail. With `bound`, `amount` is no
    money: it is in the unit of that bound.

    A call that is several transactions has `steps`, and `apply` is its dry run alone. It may be made again
    after a crash, so its steps are repeatable; in the last one it calls `finish`.
    """

    method: str
    request: type[Message]
    amount: Callable[[Any], int | None]
    apply: Apply
    roles: Callable[[Any], frozenset[str]] | None = None
    prepare: Prepare | None = None
    steps: Steps | None = None
    bound: DayBound | None = None
