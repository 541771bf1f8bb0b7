"""Promises of alerts: each crossing once to each target, whoever else is away, and lows not too often."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from grpc import aio

from shoudan.finance.v1 import alert_service_pb2 as pb
from shoudan.finance.v1 import alert_service_pb2_grpc as stubs
from shoudan.order.v1 import channel_service_pb2 as channel_pb
from shoudan.pay.v1 import ledger_service_pb2 as pay_pb
from shoudan_finance import alert_commands, alerts
from shoudan_finance.alerts import Decision, decide
from shoudan_finance.store.alerts import Edge, Route
from shoudan_kit.embedded import DatabaseUrls, Nats
from shoudan_kit.rpc.refusal import refused_from_rpc
from tests.finance.harness import FinanceHarness, opened
from tests.finance.process import FinanceProcess
from tests.pay.ledger.harness import YUAN, LedgerHarness, posting
from tests.poll import eventually

NOW = datetime(2026, 11, 30, 4, tzinfo=UTC)
COOLDOWN = timedelta(minutes=10)
DIED = 137
FLAT = pay_pb.CHANGE_TYPE_BALANCE_FLAT


# ------------------------------------------------------------ deciding
def edge(seq: int, *, low: bool) -> Edge:
    return Edge(1, 50, seq, "oms", "down_channel", "c", low, 0, NOW)


def route(seq: int = -1, *, low: bool = False, low_ago: timedelta | None = None) -> Route:
    return Route(1, 50, "t", seq, low, 0, "", None if low_ago is None else NOW - low_ago, None)


LOW1, OK2, LOW3, OK4 = edge(1, low=True), edge(2, low=False), edge(3, low=True), edge(4, low=False)
LONG, SHORT = timedelta(hours=1), timedelta(minutes=4)
LEFT_S = 360.0


@pytest.mark.parametrize(
    ("known", "edges", "decision"),
    [
        (route(), [], Decision()),
        (route(), [LOW1], Decision(edge=LOW1)),
        (route(), [LOW1, OK2], Decision(edge=LOW1)),
        (route(), [OK2], Decision(passed_seq=2)),  # a recovery of what was never sent
        (route(1, low=True, low_ago=SHORT), [OK2], Decision(edge=OK2)),  # waits for nothing
        (route(2, low_ago=SHORT), [LOW3], Decision(wait_s=LEFT_S)),
        (route(2, low_ago=LONG), [LOW3], Decision(edge=LOW3)),
        (route(2, low_ago=SHORT), [LOW3, OK4], Decision(passed_seq=4)),  # it came and went
        (route(2, low_ago=SHORT), [LOW3, OK4, edge(5, low=True)], Decision(4, wait_s=LEFT_S)),
        (route(1, low=True, low_ago=SHORT), [LOW3], Decision(passed_seq=3)),  # it is low still
        (route(1, low=True, low_ago=LONG), [LOW3, OK4], Decision(3, OK4)),
    ],
)
def test_the_next_crossing_is_sent_and_what_is_no_news_is_not(
    known: Route, edges: Sequence[Edge], decision: Decision
) -> None:
    assert decide(known, edges, NOW, COOLDOWN) == decision


def test_without_a_cooldown_every_crossing_is_sent_in_order() -> None:
    sent: list[Edge] = []
    known, edges = route(), [LOW1, OK2, LOW3, OK4]
    while (found := decide(known, edges, NOW, timedelta())).edge is not None:
        sent.append(found.edge)
        known = route(found.edge.seq, low=found.edge.low, low_ago=timedelta())
        edges = [one for one in edges if one.seq > found.edge.seq]
    assert sent == [LOW1, OK2, LOW3, OK4]


# ------------------------------------------------------------ sending
@dataclass
class Robot:
    """A webhook of the staff: what it was sent, and what it answers."""

    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    code: int = 0

    async def take(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.json())
        return web.json_response({"errcode": self.code, "errmsg": "ok"})

    def said(self, text: str) -> list[str]:
        """What it was sent about something."""
        texts = [one["text"]["content"] for one in self.bodies]
        return [one for one in texts if text in one]


@pytest.fixture(scope="module")
async def robots() -> AsyncIterator[tuple[Robot, Robot]]:
    """Two robots."""
    one, two = Robot(), Robot()
    app = web.Application()
    app.router.add_post("/one", one.take)
    app.router.add_post("/two", two.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    one.url, two.url = f"http://127.0.0.1:{port}/one?key=k", f"http://127.0.0.1:{port}/two"
    yield one, two
    await runner.cleanup()


def targets(folder: Path, robots: tuple[Robot, Robot]) -> str:
    """A file with both: one for all accounts, the other for channels."""
    lines: list[str] = []
    for name, one in zip(("ops", "sales"), robots, strict=True):
        secret = folder / f"{name}.url"
        secret.write_text(one.url)
        lines += ["[[target]]", f'name = "{name}"', 'kind = "wecom"', f'url_file = "{secret}"']
    lines.append('groups = ["down_channel"]')
    path = folder / "targets.toml"
    path.write_text("\n".join(lines))
    return str(path)


@pytest.fixture(scope="module")
async def alerted(
    database: Callable[[str], Awaitable[DatabaseUrls]],
    ledger: LedgerHarness,
    nats: Nats,
    robots: tuple[Robot, Robot],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[FinanceHarness]:
    """A finance service that hears events and knows both robots."""
    given = {"alert_targets": targets(tmp_path_factory.mktemp("targets"), robots)}
    settings: dict[str, Any] = {"nats_url": nats.url, "alert_cooldown_s": 0, "notice_waits_s": [1]}
    urls = await database("finance")
    async with opened(urls, ledger, **given, **settings) as made:
        yield made


@pytest.fixture
async def alert_stub(alerted: FinanceHarness) -> AsyncIterator[Any]:
    async with aio.insecure_channel(f"127.0.0.1:{alerted.process.port}") as channel:
        yield stubs.AlertServiceStub(channel)


async def moved(ledger: LedgerHarness, key: pay_pb.AccountKey, *yuan: int) -> None:
    for one in yuan:
        await ledger.post(posting(key, one * YUAN, change_type=FLAT))


async def watch(
    ledger: LedgerHarness, key: pay_pb.AccountKey, threshold: int, hysteresis: int = 0
) -> None:
    request = pay_pb.SetAlertRequest(
        key=key, threshold_micros=threshold * YUAN, hysteresis_micros=hysteresis * YUAN
    )
    await ledger.stub.SetAlert(request)


async def test_a_crossing_reaches_the_channel_and_the_staff_and_so_does_the_recovery(
    alerted: FinanceHarness, robots: tuple[Robot, Robot]
) -> None:
    key = await alerted.ledger.account(100 * YUAN)
    assert key.groups == "down_channel"
    await watch(alerted.ledger, key, 50, 10)
    await moved(alerted.ledger, key, -60, 15, -10)  # 40 low, 55 quiet, 45 quiet
    await eventually(lambda: len(alerted.channels.of(key.eid)) == 1, 20)
    (low,) = alerted.channels.of(key.eid)
    assert (low["event"], low["threshold"]) == ("balance_low", "50")
    # As it crossed, or as the first look found it: whichever stored the crossing.
    assert low["balance"] in {"40", "45"}
    # 60 left within a day, and 10 more at most by the time it was sent: 40 to 55 last a day or less.
    assert 10 < float(low["runway_hours"]) < 24
    await moved(alerted.ledger, key, 20)  # 65 recovered
    await eventually(lambda: len(alerted.channels.of(key.eid)) == 2, 20)
    assert alerted.channels.of(key.eid)[1]["event"] == "balance_recovered"
    for robot in robots:
        await eventually(lambda robot=robot: len(robot.said(key.eid)) == 2, 20)
        first, second = robot.said(key.eid)
        assert "余额不足预警" in first
        assert "小时" in first
        assert "余额已恢复" in second
    keys = [one.key for one in alerted.channels.sent if one.channel_no == key.eid]
    assert len(set(keys)) == 2


async def test_accounts_of_other_kinds_are_no_business_of_a_channel(
    alerted: FinanceHarness, robots: tuple[Robot, Robot]
) -> None:
    key = await alerted.ledger.account(100 * YUAN, groups="up_channel")
    await watch(alerted.ledger, key, 50)
    await moved(alerted.ledger, key, -60)
    await eventually(lambda: len(robots[0].said(f"up_channel/{key.eid}")) == 1, 20)
    assert robots[1].said(f"up_channel/{key.eid}") == []
    assert alerted.channels.of(key.eid) == []
    routes = await alerted.sql(
        "SELECT count(*) FROM alert_route WHERE target <> 'ops' AND account_id"
        " IN (SELECT account_id FROM balance_edge WHERE eid = $1 AND groups = 'up_channel')",
        key.eid,
    )
    assert routes[0][0] == 0


async def test_who_is_away_holds_up_nobody_and_gets_it_later(
    alerted: FinanceHarness, robots: tuple[Robot, Robot], alert_stub: Any
) -> None:
    key = await alerted.ledger.account(100 * YUAN)
    robots[1].code = 45009  # too many calls
    alerted.channels.results[key.eid] = channel_pb.NOTICE_RESULT_NOT_ACKNOWLEDGED
    await watch(alerted.ledger, key, 50)
    await moved(alerted.ledger, key, -60)
    await eventually(lambda: len(robots[0].said(key.eid)) == 1, 20)
    await eventually(lambda: len(robots[1].said(key.eid)) >= 2, 20)
    await eventually(lambda: len(alerted.channels.of(key.eid)) >= 2, 20)

    async def answers() -> dict[str, str]:
        page = await alert_stub.ListSent(pb.ListSentRequest(page_size=1000))
        ids = await alerted.sql("SELECT account_id FROM balance_edge WHERE eid = $1", key.eid)
        return {one.target: one.answer for one in page.sent if one.account_id == ids[0][0]}

    expected = {"ops": "", "partner": "HTTP 500", "sales": "errcode 45009"}
    await eventually(lambda: answers_are(answers, expected))
    robots[1].code = 0
    del alerted.channels.results[key.eid]
    await eventually(lambda: answers_are(answers, dict.fromkeys(expected, "")), 20)
    keys = {one.key for one in alerted.channels.sent if one.channel_no == key.eid}
    assert len(keys) == 1


async def answers_are(
    answers: Callable[[], Awaitable[dict[str, str]]], expected: dict[str, str]
) -> bool:
    return await answers() == expected


async def test_what_no_event_brought_is_found_by_comparing(
    alerted: FinanceHarness, robots: tuple[Robot, Robot]
) -> None:
    key = await alerted.ledger.account(100 * YUAN)
    await watch(alerted.ledger, key, 50)
    await moved(alerted.ledger, key, -60)
    await eventually(lambda: len(robots[0].said(key.eid)) == 1, 20)
    await eventually(lambda: len(alerted.channels.of(key.eid)) == 1, 20)
    # As if it had never come: the look finds it, under the same key.
    await alerted.sql(
        "DELETE FROM alert_route WHERE account_id IN (SELECT account_id FROM balance_edge"
        " WHERE eid = $1)",
        key.eid,
    )
    await alerted.sql("DELETE FROM balance_edge WHERE eid = $1", key.eid)
    await alerts.complete(alerted.context)
    await eventually(lambda: len(alerted.channels.of(key.eid)) == 2, 20)
    keys = {one.key for one in alerted.channels.sent if one.channel_no == key.eid}
    assert len(keys) == 1
    await alerts.complete(alerted.context)  # and again: nothing new
    edges = await alerted.sql("SELECT count(*) FROM balance_edge WHERE eid = $1", key.eid)
    assert edges[0][0] == 1


async def test_commands_add_list_and_try(
    alerted: FinanceHarness, robots: tuple[Robot, Robot], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOUDAN_PAY_TARGET", f"127.0.0.1:{alerted.ledger.process.port}")
    key = await alerted.ledger.account(100 * YUAN)
    whose = (key.ident, key.groups, key.eid)
    made = await alerted.run("add", *whose, "50", "--hysteresis", "5", app=alert_commands.app)
    assert made.stdout == "thresholds of the account: 50\n"
    listed = await alerted.run("ls", app=alert_commands.app)
    line = f"{' '.join(whose)}: below 50 元, again above 55: ok 正常, balance 100 元"
    assert line in listed.stdout.splitlines()
    gone = await alerted.run("rm", *whose, "50", app=alert_commands.app)
    assert gone.stdout == "thresholds of the account: none\n"
    shown = await alerted.run("targets", app=alert_commands.app)
    assert shown.stdout.splitlines() == ["ops: wecom, all accounts", "sales: wecom, down_channel"]
    before = len(robots[0].bodies)
    tried = await alerted.run("test", "ops", app=alert_commands.app)
    assert (tried.exit_code, tried.stdout) == (0, "acknowledged\n")
    assert len(robots[0].bodies) == before + 1
    alerted.channels.results["gone"] = channel_pb.NOTICE_RESULT_NO_ADDRESS
    tried = await alerted.run("test", "partner", "--channel", "gone", app=alert_commands.app)
    assert (tried.exit_code, tried.stdout) == (1, "not acknowledged: no address\n")
    sent = await alerted.run("sent", app=alert_commands.app)
    assert sent.exit_code == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"target": "nope"}, "TARGET_NOT_FOUND"),
        ({"target": ""}, "FIELD_INVALID"),
        ({"target": "partner"}, "FIELD_INVALID"),
        ({"target": "ops", "channel_no": "x"}, "FIELD_INVALID"),
    ],
)
async def test_a_test_of_who_is_not_there_is_refused(
    alert_stub: Any, changes: dict[str, str], reason: str
) -> None:
    with pytest.raises(aio.AioRpcError) as raised:
        await alert_stub.TestTarget(pb.TestTargetRequest(**changes))
    found = refused_from_rpc(raised.value)
    assert found is not None
    assert found.reason == f"ERROR_REASON_{reason}"


async def test_a_process_that_dies_behind_a_sent_alert_sends_it_again_by_the_same_key(
    new_database: Callable[[str], Awaitable[DatabaseUrls]],
    ledger: LedgerHarness,
    robots: tuple[Robot, Robot],
    tmp_path: Path,
) -> None:
    urls = await new_database("finance")  # no process of another test takes its tasks
    async with opened(urls, ledger, roles=frozenset({"rpc"})) as first:
        port = first.context.app.settings.order_target
        key = await ledger.account(100 * YUAN)
        await watch(ledger, key, 50)
        await moved(ledger, key, -60)
        given = {
            "pay_target": f"127.0.0.1:{ledger.process.port}",
            "order_target": port,
            "alert_targets": targets(tmp_path, robots),
            "task_lease_s": "1",
        }
        child = FinanceProcess(urls, tmp_path, "finance.alert_sent:exit", **given)
        assert await child.ended() == DIED
    async with opened(urls, ledger, alert_targets=targets(tmp_path, robots)) as second:
        await alerts.complete(second.context)
        await eventually(lambda: len(robots[0].said(key.eid)) >= 1, 40)
        await eventually(lambda: len(robots[1].said(key.eid)) >= 1, 40)

        async def ended() -> bool:
            rows = await second.sql(
                "SELECT count(*) FROM alert_route r JOIN balance_edge e USING (account_id)"
                " WHERE e.eid = $1 AND r.notified_low",
                key.eid,
            )
            return rows[0][0] == 3

        await eventually(ended, 60)
