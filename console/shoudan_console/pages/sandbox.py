"""The sandbox of a test system: how its supplier answers, what its inboxes received, and time that passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from google.protobuf.message import Message
from grpc import StatusCode
from starlette.responses import Response

from shoudan.core.v1 import operations_service_pb2 as core_pb
from shoudan.order.v1 import sandbox_service_pb2 as pb
from shoudan_console import calls, own
from shoudan_console.advances import ADVANCE, TURNED, operation
from shoudan_console.lists import Column, Filter, Found, Listing, Query
from shoudan_console.page import Entry, Page, listing_pages
from shoudan_console.system_clock import get_clock
from shoudan_console.system_time import now
from shoudan_console.values import Status
from shoudan_console.values import mark as _
from shoudan_console.visits import Missing, Visit
from shoudan_kit.clock_steps import Behind, Clocks
from shoudan_kit.rpc.refusal import Refused

PATH: Final = "/sandbox"
CLOCK: Final = "/sandbox/clock"
SCRIPTS: Final = "/sandbox/scripts"
INBOX: Final = "/sandbox/inbox"
OWN_INBOX: Final = "/own/inbox"
QUICK_S: Final = (900, 3_600, 6 * 3_600, 86_400, 7 * 86_400)
UNITS: Final = {"m": (60, _("minutes")), "h": (3_600, _("hours")), "d": (86_400, _("days"))}
BY_S_MAX: Final = 31 * 86_400
COUNT_DIGITS_MAX: Final = 5
KEY_MAX: Final = 64
TASKS_MAX: Final = 1_000
KINDS: Final = {
    "account": (pb.SANDBOX_KEY_ACCOUNT, _("Account")),
    "order": (pb.SANDBOX_KEY_ORDER, _("Order")),
    "channel": (pb.SANDBOX_KEY_CHANNEL, _("Supplier")),
}
WORTH: Final[Mapping[int, Status]] = {
    pb.SANDBOX_SIGNATURE_NONE: Status(_("Unsigned"), "idle"),
    pb.SANDBOX_SIGNATURE_RIGHT: Status(_("Signature right"), "good"),
    pb.SANDBOX_SIGNATURE_WRONG: Status(_("Signature wrong"), "bad"),
    pb.SANDBOX_SIGNATURE_UNCHECKED: Status(_("No key to check with"), "warn"),
}


@dataclass(frozen=True, slots=True)
class Due:
    """Work of one kind that waits for its time."""

    service: str
    name: str
    count: int
    more: bool
    next_time: datetime


def there(visit: Visit) -> bool:
    """Whether it is a test system, as its services have said."""
    return visit.clock.turnable


async def check_there(visit: Visit) -> None:
    """Raises Missing where nothing is played; Refused, Away while the services have not said."""
    clock = visit.site.clock
    if not (clock.seen if clock.known else await clock.ask(visit.caller)).turnable:
        raise Missing


async def show(visit: Visit, problem: str = "", status: int = 400) -> Response:
    """Clock, supplier and what is due next, each by itself."""
    await check_there(visit)
    panels = await visit.panels(
        clocks=_clocks(visit),
        sandbox=visit.ask(calls.GET_SANDBOX, pb.GetSandboxRequest()),
        due=_due(visit),
    )
    advances, names = visit.site.advances, {kind: name for name, (kind, _word) in KINDS.items()}
    return visit.render(
        "sandbox.html",
        status if problem else 200,
        panels=panels,
        now=now(),
        quick=QUICK_S,
        units={key: word for key, (_seconds, word) in UNITS.items()},
        kinds={key: word for key, (_kind, word) in KINDS.items()},
        name_of=names,
        advancing=advances.running,
        stopped=advances.failed,
        may_advance=visit.may(ADVANCE),
        may_choose=visit.may(calls.SET_SANDBOX_SCRIPT),
        problem=problem,
    )


async def _clocks(visit: Visit) -> Sequence[tuple[str, Any]]:
    """The clock of each service, and of each of its shards."""

    async def call(service: str, _method: str, request: Message) -> Any:
        return await visit.ask(get_clock(service), request)

    found = await Clocks(TURNED, call).look()
    return [(name, one) for name, ones in found.items() for one in ones]


async def _due(visit: Visit) -> Sequence[Due]:
    """What waits in the services, by kind, soonest first; one that is away is named above."""
    wanted: Any = [core_pb.TASK_STATUS_WAITING]
    request = core_pb.ListTasksRequest(statuses=wanted, page_size=TASKS_MAX)
    asked = {name: visit.ask(operation(name, "ListTasks"), request) for name in TURNED}
    panels = await visit.panels(**asked)
    found = [
        one
        for name, panel in panels.items()
        if panel.value is not None
        for one in _kinds(name, panel.value)
    ]
    return sorted(found, key=lambda one: one.next_time)


def _kinds(service: str, answer: Any) -> Sequence[Due]:
    times: dict[str, list[datetime]] = {}
    for task in answer.tasks:
        if task.HasField("next_execute_time"):
            times.setdefault(task.name, []).append(task.next_execute_time.ToDatetime(UTC))
    more = bool(answer.next_page_token)
    return [Due(service, name, len(all_), more, min(all_)) for name, all_ in times.items()]


def seconds_in(form: Mapping[str, str]) -> int:
    """How much time is to pass; 0 when that is not said."""
    quick, count = form.get("quick", ""), form.get("count", "").strip()
    if quick in {str(one) for one in QUICK_S}:
        return int(quick)
    if not count.isascii() or not count.isdigit() or len(count) > COUNT_DIGITS_MAX:
        return 0
    seconds = int(count) * UNITS.get(form.get("unit", ""), (0, ""))[0]
    return seconds if seconds <= BY_S_MAX else 0


async def advance(visit: Visit) -> Response:
    """Let time pass. The form says from when, so that sent twice it counts once.

    It passes in the background: who may not is refused here, not when the answer has been given.
    """
    if not visit.may(ADVANCE):
        raise Refused(
            StatusCode.PERMISSION_DENIED,
            "console",
            "ERROR_REASON_NOT_ALLOWED",
            {"method": f"/{ADVANCE.path}", "caller": visit.known.operator},
        )
    from_, by_s = visit.form.get("from", ""), seconds_in(visit.form)
    if not by_s or not from_.isascii() or not from_.isdigit() or len(from_) > len("999999999"):
        return await show(visit, _("Say how much time is to pass: at most 31 days at once."))
    advances = visit.site.advances
    try:
        begun = await advances.begin(visit.known, visit.address, int(from_), by_s)
    except Behind as behind:
        return await show(
            visit, visit.text(_("These do not follow the clock:")) + f" {behind}", 503
        )
    if not begun:
        said = _(
            "Time has passed since this page was shown, or is passing now: look at the clock again."
        )
        return await show(visit, said, 409)
    return visit.redirect(PATH, done="clock")


async def choose(visit: Visit) -> Response:
    """Let the supplier play a script for an account, an order or a channel. Repeats change nothing."""
    form = visit.form
    kind, key = form.get("kind", ""), form.get("key", "").strip()
    if kind not in KINDS or not 0 < len(key) <= KEY_MAX:
        return await show(visit, _("Say for which account, order or supplier."))
    request = pb.SetSandboxScriptRequest(
        key_kind=KINDS[kind][0], key=key, script=form.get("script", "")[:KEY_MAX]
    )
    await visit.ask(calls.SET_SANDBOX_SCRIPT, request)
    return visit.redirect(PATH, done="script", key=key)


@dataclass(frozen=True, slots=True)
class Row:
    """A notify as it came."""

    time: datetime
    worth: Status
    mistake: str
    call: str
    body: str
    headers: str


def row_of(one: Any) -> Row:
    """A letter as the service gives it."""
    call = f"{one.method} ?{one.query}" if one.query else one.method
    worth = WORTH[one.signature]
    return Row(one.time.ToDatetime(UTC), worth, one.mistake, call, one.body, one.headers)


async def fetch(visit: Visit, query: Query, *, partner: bool = False) -> Found:
    """The last letters of a channel's inbox, newest first."""
    await check_there(visit)
    channel = own.channel_of(visit) if partner else query.text("channel")
    if not channel:
        return Found(())
    request = pb.ListSandboxLettersRequest(channel_no=channel[:KEY_MAX])
    answer = await visit.ask(calls.LIST_SANDBOX_LETTERS, request)
    return Found([row_of(one) for one in answer.letters[: query.size]])


def _listing(name: str, path: str, filter_: Filter, *, partner: bool) -> Listing:
    return Listing(
        name=name,
        path=path,
        title=_("Inbox of the sandbox"),
        intro=_(
            "What the sandbox received at /inbox/CHANNEL, the last 50: give its address as notify_url. "
            "Each signature is checked with the channel's keys of now."
        ),
        columns=(
            Column("time", _("Time"), lambda row: row.time, "time"),
            Column("worth", _("Signature"), lambda row: row.worth, "status"),
            Column("mistake", _("What is wrong"), lambda row: row.mistake, small=False),
            Column("body", _("Body"), lambda row: row.body, "folded"),
            Column("call", _("Call"), lambda row: row.call, "code", small=False),
            Column("headers", _("Headers"), lambda row: row.headers, "folded", small=False),
        ),
        fetch=partial(fetch, partner=partner),
        empty=_("Nothing came yet, or no channel is named above."),
        filters=(filter_,),
    )


LISTING: Final = _listing(
    "inbox", INBOX, Filter("channel", _("Channel"), hint="test"), partner=False
)
OWN_LISTING: Final = _listing("own-inbox", OWN_INBOX, own.CHANNEL, partner=True)

PAGES: Final = (
    Page(PATH, show),
    Page(CLOCK, act=advance),
    Page(SCRIPTS, act=choose),
    *listing_pages(LISTING),
    *listing_pages(OWN_LISTING, "partner"),
)
NAVIGATION: Final = (
    Entry(PATH, _("Sandbox"), _("Administer"), (calls.GET_SANDBOX,), where=there),
    Entry(OWN_INBOX, _("My inbox of the sandbox"), _("My access"), whose="partner", where=there),
)
