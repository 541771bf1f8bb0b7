"""What is recorded: values, with secrets and persons masked before they reach a row that stays for ever."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, Protocol, cast

import orjson
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from shoudan_kit import log
from shoudan_kit.ids import IdMaker
from shoudan_kit.rpc.callers import (
    LOCAL_OWNER,
    current_address,
    current_caller,
    current_method,
    handed_on_from,
)

CallerKind = Literal["operator", "service", "local", "none"]
Outcome = Literal["done", "refused"]

TEXT_CHARS_MAX: Final = 500
REASON_CHARS_MAX: Final = 1_000
KEY_CHARS_MAX: Final = 200
FACTS_BYTES_MAX: Final = 8_192  # of before and of after; more is cut to its digest
_SECRET_ENDS: Final = ("password", "secret", "token", "sign")
# Fields of the contract that hold a person, whatever the service.
_PERSONAL: Final = frozenset({"phone", "mobile", "telno", "receiver"})
_MOBILE: Final = re.compile(r"(?<![0-9])(1[3-9][0-9])[0-9]{6}([0-9]{2})(?![0-9])")
_SORTED: Final = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS

Facts = Mapping[str, object] | Message | None


@dataclass(frozen=True, slots=True)
class Who:
    """Who acted, by reference, and from where."""

    kind: CallerKind
    ref: str = ""
    address: str = ""


NO_CALLER: Final = Who("none")


@dataclass(frozen=True, slots=True)
class Entry:
    """One administrative write, or one that was refused.

    `subject` is the kind of what was changed and `key` finds it. `before` and `after` are what changed of
    it, secrets and persons are masked when it is recorded. Without `who` and `action` they are those of the
    call in progress, which only a servicer's own code may rely on: work that is handed on takes the row
    of its caller along (`row_of`).
    """

    subject: str
    key: str | int
    before: Facts = None
    after: Facts = None
    reason: str = ""
    proposal_id: int = 0
    outcome: Outcome = "done"
    action: str = ""
    who: Who | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """The service that records, and the fields that name a person there."""

    service: str = ""
    masked: frozenset[str] = frozenset()


UNNAMED: Final = Origin()


@dataclass(slots=True)
class AuditRow:
    """A row as it is inserted; the database gives it its time."""

    service: str
    action: str
    caller_kind: str
    caller_ref: str
    address: str
    subject_kind: str
    subject_key: str
    before: str
    after: str
    reason: str
    request_id: str
    proposal_id: int
    outcome: str
    id: int = 0


@dataclass(slots=True)
class AuditRows:
    """The rows a transaction writes at its end."""

    origin: Origin
    rows: list[AuditRow] = field(default_factory=list[AuditRow])
    of_call: bool = False  # one of them is the row of the call in progress
    _drafts: list[Draft] = field(default_factory=list["Draft"])

    def take_draft(self, ids: IdMaker, draft: Draft | None) -> None:
        """Write the row of a call with the others, unless another transaction does."""
        if draft is None or not draft.claim(self):
            return
        self._drafts.append(draft)
        if not self.of_call:
            self.rows.append(draft.row(self.origin, ids))

    def end(self, *, written: bool) -> None:
        """The transaction was committed, or is gone."""
        while self._drafts:
            self._drafts.pop().release(written=written)


class Recorder(Protocol):
    """Has rows that are written with its transaction: a UnitOfWork."""

    audit: AuditRows


def who() -> Who:
    """Who made the call in progress; only inside a servicer."""
    caller = current_caller()
    # Without a token only this machine is let in where the gateway hands on.
    if caller is LOCAL_OWNER or (caller.kind == "service" and handed_on_from()):
        return Who("local", "", current_address())
    # An account of a partner has a number and a name as an operator has: its rows say whose it is by that.
    kind = "operator" if caller.kind == "partner" else caller.kind
    return Who(kind, caller.id or caller.name, current_address())


@dataclass(slots=True)
class Draft:
    """The row of one call, until it is written with the first transaction that the call commits."""

    entry: Entry
    written: bool = False
    _id: int = 0
    _writer: object = None  # the transaction that has it, until it is committed or gone

    def claim(self, writer: object) -> bool:
        """Whether this transaction is to write the row: no other has, or is about to."""
        if self.written or self._writer is not None:
            return False
        self._writer = writer
        return True

    def release(self, *, written: bool) -> None:
        """The transaction was committed, or is gone."""
        self._writer, self.written = None, self.written or written

    def row(self, origin: Origin, ids: IdMaker) -> AuditRow:
        """The row, with the same number each time: one whose commit was in doubt is not written twice."""
        made = row_of(origin, self.entry)
        made.id = self._id = self._id or ids.next()
        return made


_draft: ContextVar[Draft | None] = ContextVar("shoudan_audit_draft", default=None)


def begin_draft(draft: Draft | None) -> None:
    """The call in progress leaves this row, or none."""
    _draft.set(draft)


def draft_of_call() -> Draft | None:
    """The row of the call in progress, for work that is handed on; None when it leaves none."""
    return _draft.get()


def drop_draft() -> None:
    """The code of this call records its own rows: none is drafted from its request."""
    draft = _draft.get()
    if draft is not None:
        draft.written = True


def describe(
    subject: str = "",
    key: str | int = "",
    before: Facts = None,
    after: Facts = None,
    reason: str = "",
    proposal_id: int = 0,
    outcome: Outcome = "done",
) -> None:
    """Say of the row of this call what is known better than from its request; without a call, nothing."""
    draft = _draft.get()
    if draft is None:
        return
    entry = draft.entry
    draft.entry = replace(
        entry,
        subject=subject or entry.subject,
        key=key or entry.key,
        before=entry.before if before is None else before,
        after=entry.after if after is None else after,
        reason=reason or entry.reason,
        proposal_id=proposal_id or entry.proposal_id,
        outcome=outcome,
    )


def record(work: Recorder, entry: Entry) -> None:
    """Write one row of the audit log with what the transaction does; nothing when it is rolled back.

    Within a call, it is the row of that call in place of the one drafted from its request.
    """
    work.audit.rows.append(row_of(work.audit.origin, entry))
    work.audit.of_call = work.audit.of_call or entry.who is None


def row_of(origin: Origin, entry: Entry) -> AuditRow:
    """The row of an entry, masked and bounded."""
    actor = entry.who or who()
    request_id = log.context("request_id") if entry.request_id is None else entry.request_id
    return AuditRow(
        origin.service,
        _text(entry.action or current_method(), KEY_CHARS_MAX),
        actor.kind,
        _text(actor.ref, KEY_CHARS_MAX),
        _text(actor.address, KEY_CHARS_MAX),
        _text(entry.subject, KEY_CHARS_MAX),
        _key(entry, origin.masked),
        facts_text(entry.before, origin.masked),
        facts_text(entry.after, origin.masked),
        masked_text(_text(entry.reason, REASON_CHARS_MAX)),
        _text(request_id or "", KEY_CHARS_MAX),
        entry.proposal_id,
        entry.outcome,
    )


def facts_text(facts: Facts, masked: frozenset[str] = frozenset()) -> str:
    """Facts as JSON with sorted keys; empty for none, and a digest in place of what is too long."""
    if facts is None:
        return ""
    if isinstance(facts, Message):
        facts = MessageToDict(facts, preserving_proto_field_name=True)
    made = orjson.dumps(_masked(facts, log.MASKED | masked), str, _SORTED)
    if len(made) > FACTS_BYTES_MAX:
        digest = hashlib.sha256(made).hexdigest()
        made = orjson.dumps({"bytes": len(made), "sha256": digest}, None, _SORTED)
    return made.decode()


def masked_text(text: str) -> str:
    """A text without the mobile numbers in it."""
    return _MOBILE.sub(r"\1******\2", text)


def _masked(value: Any, masked: frozenset[str]) -> Any:
    """A value of JSON with what is secret in it replaced; what is no such value becomes text."""
    match value:
        case str():
            return masked_text(_text(value, TEXT_CHARS_MAX))
        case Mapping():
            given = cast("Mapping[Any, Any]", value)
            return {str(name): _masked_field(str(name), one, masked) for name, one in given.items()}
        case list() | tuple():
            return [_masked(one, masked) for one in cast("list[Any]", value)]
        case set() | frozenset():
            return [_masked(one, masked) for one in sorted(cast("set[Any]", value), key=str)]
        case _:
            return value


def _masked_field(name: str, value: Any, masked: frozenset[str]) -> Any:
    if _is_secret(name, masked) or is_account(name, value):
        return log.MASK
    return _masked(value, masked)


def is_account(name: str, value: object) -> bool:
    """Whether a field holds the recharge account of a person; of the ledger an account is no text."""
    return name == "account" and isinstance(value, str)


def _is_secret(name: str, masked: frozenset[str]) -> bool:
    return name in masked or name in _PERSONAL or name.endswith(_SECRET_ENDS)


def _key(entry: Entry, masked: frozenset[str]) -> str:
    if _is_secret(entry.subject, log.MASKED | masked):
        return log.MASK
    return masked_text(_text(str(entry.key), KEY_CHARS_MAX))


def _text(text: str, most: int) -> str:
    """What PostgreSQL stores, cut short."""
    return text.replace("\0", "")[:most]
