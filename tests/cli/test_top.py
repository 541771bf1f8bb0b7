"""Promises of `shoudan top` and of what it reads: all replicas, also when one is away or answers nonsense."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from rich.console import Console
from typer.testing import CliRunner

from shoudan_cli import top
from shoudan_cli.main import collected
from shoudan_kit.process import replicas
from shoudan_kit.process.ports import free_port

METRICS = """
shoudan_build_info{replica="a:1",service="order",version="0.1.0"} 1.0
shoudan_rpc_in_progress{replica="a:1",service="order"} 3.0
shoudan_tasks_dead{kind="order.pay",replica="a:1",service="order"} 2.0
shoudan_tasks_dead{kind="order.bind",replica="a:1",service="order"} 0.0
shoudan_breaker_state{channel="ycup",replica="a:1",service="order"} STATE
# TYPE shoudan_rpc_server_seconds histogram
shoudan_rpc_server_seconds_bucket{code="OK",le="0.01",method="/x"} 50.0
shoudan_rpc_server_seconds_bucket{code="OK",le="0.1",method="/x"} 98.0
shoudan_rpc_server_seconds_bucket{code="OK",le="1.0",method="/x"} 100.0
shoudan_rpc_server_seconds_bucket{code="OK",le="+Inf",method="/x"} 100.0
shoudan_rpc_server_seconds_count{code="OK",method="/x"} 100.0
shoudan_rpc_server_seconds_sum{code="OK",method="/x"} 2.0
"""


@pytest.fixture
async def replica() -> AsyncIterator[object]:
    """Start a replica's ops port; gives its URL."""
    runners: list[web.AppRunner] = []

    async def start(ready: int, reasons: dict[str, str], text: str) -> str:
        async def readyz(request: web.Request) -> web.Response:
            return web.json_response({"status": "", "reasons": reasons}, status=ready)

        async def shown(request: web.Request) -> web.Response:
            return web.Response(text=text)

        app = web.Application()
        app.router.add_get("/readyz", readyz)
        app.router.add_get("/metrics", shown)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        runners.append(runner)
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


async def test_every_replica_is_shown_and_one_that_is_away_too(replica):
    one = await replica(200, {}, METRICS.replace("STATE", "0.0"))
    other = await replica(503, {"database": "no answer"}, METRICS.replace("STATE", "1.0"))
    gone = f"http://127.0.0.1:{free_port()}"
    looks = await replicas.look({"order": f"{one}, {other},{gone}"})
    said = top.facts(looks, [])
    assert [found["state"] for found in said["replicas"][:2]] == ["serving", "database"]
    assert said["replicas"][2]["state"].startswith("no answer")
    first = said["replicas"][0]
    assert (first["replica"], first["version"]) == ("a:1", "0.1.0")
    assert (first["in_flight"], first["tasks_dead"]) == (3, 2)
    assert (first["p50_s"], first["p99_s"]) == (0.01, 1.0)
    assert said["suppliers"] == {"ycup": "open"}
    console = Console(width=200, record=True)
    console.print(top.shown(looks, []))
    text = console.export_text()
    assert all(word in text for word in ("a:1", "0.1.0", "no answer", "supplier ycup: open"))
    assert json.dumps(said)


async def test_rates_are_those_between_two_looks(replica):
    url = await replica(200, {}, METRICS.replace("STATE", "0.0"))
    (before,) = await replicas.look({"order": url})
    later = replicas.Look(
        "order",
        before.address,
        "serving",
        before.at + 10,
        samples={
            name: {labels: value + 20 for labels, value in of.items()}
            for name, of in before.samples.items()
        },
    )
    assert replicas.calls_per_s(later, before) == 2
    assert replicas.calls_per_s(before, None) is None
    assert replicas.calls_per_s(replicas.Look("order", "x", "no answer", 0), before) is None
    restarted = replicas.Look("order", "x", "serving", before.at + 1, samples={"x": {}})
    assert replicas.calls_per_s(restarted, before) == 0


@pytest.mark.parametrize(
    "text", ["", "garbage {", "shoudan_x{a=} 1", "shoudan_x nan_", "\x00", "x" * 10_000]
)
async def test_what_is_no_exposition_gives_no_figures(replica, text):
    assert replicas.samples(text) == {} or "shoudan_rpc_in_progress" not in replicas.samples(text)
    url = await replica(200, {}, text)
    (one,) = await replicas.look({"order": url})
    assert one.ok
    assert one.worst("shoudan_tasks_dead") is None
    assert replicas.quantile(0.5, one, None) is None


@pytest.mark.parametrize("url", ["", "ftp://x", "http://", "file:///etc/passwd", " , "])
def test_what_is_no_address_is_no_replica(url):
    assert replicas.addresses(url) == []


def test_a_name_is_each_of_its_addresses(monkeypatch):
    known = [(2, 1, 6, "", (f"10.0.0.{n}", 9090)) for n in range(1, 100)]
    monkeypatch.setattr(replicas.socket, "getaddrinfo", lambda *_: known)
    found = replicas.addresses("http://order:9090")
    assert found[:2] == ["http://10.0.0.1:9090", "http://10.0.0.2:9090"]
    assert len(found) == replicas.REPLICAS_MAX


async def test_once_as_json_tells_by_its_exit_code_whether_all_serve(replica, monkeypatch):
    gone = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("SHOUDAN_CLI_OPS_URLS", json.dumps({"order": gone}))
    monkeypatch.setenv("SHOUDAN_CLI_GATEWAY_URL", gone)
    ended = await asyncio.to_thread(CliRunner().invoke, collected(), ["top", "--once", "--json"])
    assert ended.exit_code == 1
    assert json.loads(ended.stdout)["replicas"][0]["state"].startswith("no answer")
    url = await replica(200, {}, METRICS.replace("STATE", "0.0"))
    monkeypatch.setenv("SHOUDAN_CLI_OPS_URLS", json.dumps({"order": url}))
    ended = await asyncio.to_thread(CliRunner().invoke, collected(), ["top", "--once", "--json"])
    assert ended.exit_code == 0
