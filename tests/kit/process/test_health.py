"""The operators' port: alive, ready, counted."""

import asyncio

import aiohttp
import pytest

from shoudan_kit import metrics
from shoudan_kit.process.health import OpsServer


@pytest.fixture
async def serve():
    servers = []

    async def start(checks, **options):
        server = OpsServer("127.0.0.1", -1, checks, **options)
        await server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        await server.stop()


async def get(server, path):
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{server.port}{path}") as answer,
    ):
        return answer.status, await answer.text()


async def good():
    return None


async def test_ready_only_between_start_and_drain(serve):
    server = await serve({"database": good})
    assert await get(server, "/readyz") == (
        503,
        '{"status":"failing","reasons":{"process":"starting"}}',
    )
    server.set_ready()
    assert await get(server, "/readyz") == (200, '{"status":"ok","reasons":{}}')
    server.set_draining()
    assert (await get(server, "/readyz"))[0] == 503
    assert (await get(server, "/healthz"))[0] == 200


async def test_not_ready_for_each_failing_check_and_still_alive(serve):
    async def bad():
        return "no connection"

    async def broken():
        raise ValueError("secret /etc/path")

    async def hanging():
        await asyncio.Event().wait()

    server = await serve({"good": good, "bad": bad}, check_s_max=0.05)
    server.add_checks({"broken": broken, "hanging": hanging})
    server.set_ready()
    status, body = await get(server, "/readyz")
    assert status == 503
    assert '"bad":"no connection"' in body
    assert '"broken":"failed with ValueError"' in body
    assert '"hanging":"no answer within 0.05 s"' in body
    assert "good" not in body
    assert "secret" not in body
    assert (await get(server, "/healthz"))[0] == 200


async def test_a_broken_process_is_not_alive(serve):
    async def stuck():
        return "worker stands still"

    server = await serve({}, alive={"worker": stuck})
    assert (await get(server, "/healthz"))[0] == 503


async def test_metrics_carry_the_documented_names(serve):
    metrics.rpc_done("/x/Y", "OK", 0.01)
    metrics.http_done("/order/request", 200, 0.01)
    metrics.task_done("order.pay", "done", 3, 0.01)
    metrics.OUTBOX_LAG_SECONDS().set(0)
    metrics.BREAKER_STATE("up1").set(1)
    metrics.BUILD_INFO("order", "0").set(1)
    _, body = await get(await serve({}), "/metrics")
    for name in (
        'shoudan_rpc_server_seconds_count{code="OK",method="/x/Y"}',
        'shoudan_http_seconds_count{code="200",route="/order/request"}',
        'shoudan_tasks_total{kind="order.pay",result="done"}',
        "\nshoudan_outbox_lag_seconds ",  # whatever a relay beside it has set
        'shoudan_breaker_state{channel="up1"} 1.0',
        "shoudan_build_info{",
        "process_cpu_seconds_total",
    ):
        assert name in body


async def test_port_zero_serves_nothing():
    server = OpsServer("127.0.0.1", 0, {})
    assert await server.start() == 0
    await server.stop()


def test_a_label_made_from_input_cannot_grow_for_ever():
    family = metrics.counter("test_grow_total", "For this test.", ("value",))
    for value in range(metrics.CHILDREN_MAX + 50):
        family(str(value)).inc()
    assert metrics.exposition().count(b"shoudan_test_grow_total{") == metrics.CHILDREN_MAX + 1
    assert b'shoudan_test_grow_total{value="other"} 50.0' in metrics.exposition()
