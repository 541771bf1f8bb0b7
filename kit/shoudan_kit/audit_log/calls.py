"""Calls that change something: each leaves one row of the audit log, with the first transaction it commits.

Which calls these are, the contract says: an operator may make them and their name is not that of a read. The
server drafts the row from the request before the method runs, the code of the method may describe it better
(`describe`), and the UnitOfWork of the call writes it. A method that commits nothing of its own, because it
reads personal data or asks another party, has its row written before its answer is sent.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from shoudan_kit import log
from shoudan_kit.audit_log import store
from shoudan_kit.audit_log.entries import Draft, Entry, Origin, begin_draft, is_account, who
from shoudan_kit.audit_log.refusals import Refusals
from shoudan_kit.db.pool import Database
from shoudan_kit.ids import IdMaker
from shoudan_kit.rpc.caller import Caller
from shoudan_kit.rpc.callers import LOCAL_OWNER, Access, current_method, handed_on_from
from shoudan_kit.rpc.refusal import Refusal
from shoudan_kit.rpc.rights import changes

NAMED_MAX: Final = 3  # numbers of a repeated field that stand in the key of its row
DRY_RUN: Final = "dry_run"
NOT_ABOUT: Final = frozenset({"by", "reason"})


class CallAudit:
    """What a server does around its methods for the audit log of one service."""

    def __init__(
        self, database: Database, ids: IdMaker, origin: Origin, refusals: Refusals
    ) -> None:
        self._database, self._ids, self._origin = database, ids, origin
        self._refusals = refusals

    def begin(self, access: Access, caller: Caller, request: Any) -> Draft | None:
        """Draft the row of a call; None when it leaves none."""
        if not _leaves_row(access, caller) or getattr(request, DRY_RUN, False):
            return None
        draft = Draft(_entry(request))
        begin_draft(draft)
        return draft

    async def end(self, begun: Draft) -> None:
        """Write the row of a call that is about to be answered, unless it is written."""
        if begun.written:
            return
        async with self._database.begin() as db:
            await store.insert(db, self._ids, [begun.row(self._origin, self._ids)])
        begun.written = True

    def refused(self, refusal: Refusal) -> None:
        """The caller may not make the call in progress."""
        self._refusals.note(refusal)


def _leaves_row(access: Access, caller: Caller) -> bool:
    """Whether a call of this caller is an administrative write.

    A caller on this machine that nothing is known of may be a service where services call the method, too.
    What a service hands on for another, as the gateway's internal port does, is that other's write.
    """
    handed_on = bool(handed_on_from())
    if caller.kind == "service" and not handed_on:  # most calls
        return False
    right = access.right
    if caller.kind == "partner":
        return changes(access.path.rpartition("/")[2])
    if not right.roles or right.anyone or not changes(access.path.rpartition("/")[2]):
        return False
    if caller.kind == "operator" or handed_on:
        return True
    return caller is LOCAL_OWNER and not right.services


def _entry(request: Message) -> Entry:
    """What a request says by itself: its first field that is set says what it is about."""
    caller = who()
    about = [
        (field.name, field, value)
        for field, value in request.ListFields()
        if field.name not in NOT_ABOUT and not is_account(field.name, value)
    ]
    subject, key = (about[0][0], _key(*about[0][1:])) if about else ("", "")
    reason: str = getattr(request, "reason", "")
    return Entry(
        subject,
        key,
        after=request,
        reason=reason,
        action=current_method(),
        who=caller,
        request_id=log.context("request_id") or "",
    )


def _key(field: FieldDescriptor, value: Any) -> str:
    """A field as text: numbers and words as they are, of a message those in it, of many the first ones."""
    if field.is_repeated:
        many = list(value)
        shown = ", ".join(_one(one) for one in many[:NAMED_MAX])
        return shown if len(many) <= NAMED_MAX else f"{shown} … {len(many)}"
    return _one(value)


def _one(value: Any) -> str:
    if not isinstance(value, Message):
        return str(value)
    fields = ((field, one) for field, one in value.ListFields() if not field.is_repeated)
    return "/".join(_one(one) for _, one in fields)
