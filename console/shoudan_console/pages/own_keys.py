"""A partner's signing keys: seen without their secrets, replaced with a day in which both are good."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

from starlette.responses import Response

from shoudan.core.v1 import credential_service_pb2 as pb
from shoudan_console import own
from shoudan_console.page import Entry, Page
from shoudan_console.pages.partners import KINDS, Key, key_of
from shoudan_console.values import mark as _
from shoudan_console.visits import Missing, Visit
from shoudan_kit.rpc.refusal import Refused

PATH: Final = "/own/keys"
KEYS_MAX: Final = 100
REASON_MAX: Final = 256
ONCE_MAX: Final = 64
OVERLAPS: Final = {3_600: _("An hour"), 86_400: _("A day"), 604_800: _("A week")}


async def _keys(visit: Visit, channel: str) -> Sequence[Key]:
    found: list[Key] = []
    for kind, word in KINDS.items():
        request = pb.ListCredentialsRequest(
            kind=kind, owner=channel, ended=True, page_size=KEYS_MAX
        )
        answer = await visit.ask(own.LIST_KEYS, request)
        found += [key_of(one, word) for one in answer.credentials]
    return found


async def show(visit: Visit, problem: str = "", secret: str = "") -> Response:
    """The keys; the new secret is shown in the answer that made it alone."""
    channel = own.channel_of(visit)
    held = await _keys(visit, channel)
    live = {one.kind for one in held if one.live}
    return visit.render(
        "own_keys.html",
        400 if problem else 200,
        channel=channel,
        held=held,
        kinds={kind: word for kind, word in KINDS.items() if kind in live},
        overlaps=OVERLAPS,
        once=secrets.token_hex(16),
        problem=problem,
        secret=secret,
    )


async def act(visit: Visit) -> Response:
    """Replace the keys of a kind. A form that is sent twice makes one."""
    form, channel = visit.form, own.channel_of(visit)
    reason, overlap = form.get("reason", "").strip(), form.get("overlap", "")
    if not visit.known.proved:
        return visit.redirect("/prove", next=own.address(visit, PATH))
    if not 0 < len(reason) <= REASON_MAX:
        return await show(visit, _("Say why, in at most 256 characters."))
    if form.get("kind") not in KINDS or overlap not in {str(one) for one in OVERLAPS}:
        raise Missing
    request = pb.RotateCredentialRequest(
        request_key=form.get("once", "")[:ONCE_MAX],
        kind=form["kind"],
        owner=channel,
        overlap_s=int(overlap),
        by=visit.known.operator,
        reason=reason,
    )
    try:
        answer = await visit.ask(own.ROTATE_KEY, request)
    except Refused as refused:
        if refused.reason.endswith("NOT_ALLOWED"):
            raise
        return await show(visit, REASONS.get(refused.reason, refused.reason))
    if answer.repeated:
        return visit.redirect(own.address(visit, PATH, done="yes"))
    return await show(visit, secret=answer.secret)


REASONS: Final = {
    "ERROR_REASON_ROTATION_UNDER_WAY": _(
        "A key was replaced lately: wait until the one before has ended."
    ),
    "ERROR_REASON_NO_CREDENTIAL": _("There is no key to replace: ask us for the first one."),
}
PAGES: Final = (Page(PATH, show, act, whose="partner"),)
NAVIGATION: Final = (Entry(PATH, _("My keys"), _("My access"), whose="partner"),)
