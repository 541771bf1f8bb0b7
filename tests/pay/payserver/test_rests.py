"""A component that does not answer rests as a partner's host does, and operators see it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from grpc import aio
from typer.testing import CliRunner

from shoudan.core.v1 import operations_service_pb2 as pb
from shoudan.core.v1 import operations_service_pb2_grpc as stubs
from shoudan_cli.main import collected
from shoudan_fakes.component import Component
from shoudan_kit import metrics
from shoudan_kit.limits.bulkhead import REST_AFTER
from tests.pay.payserver.harness import PayserverHarness, by_code


async def test_a_component_that_hangs_rests_and_what_it_is_owed_is_left_to_its_tasks(
    harness: PayserverHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering = harness.pay.running.context.payserver.components.answering
    monkeypatch.setattr(answering, "limits", replace(answering.limits, rest_s=60.0))
    async with Component(hang_s=1.0) as dead:
        host = f"127.0.0.1:{dead.port}"
        mode = await harness.component_mode(pay_url=f"{dead.url}/pay", query_url=None)
        for _ in range(REST_AFTER):
            await harness.post("pay", by_code(mode, "1004"))
        called = len(dead.bodies)
        status, answer = await harness.post("pay", by_code(mode, "0000"))
        assert (status, answer["data"]["status"]) == (200, "paying")
        assert len(dead.bodies) == called
        async with aio.insecure_channel(f"127.0.0.1:{harness.pay.port}") as channel:
            stub: Any = stubs.OperationsServiceStub(channel)
            (listed,) = (await stub.ListResting(pb.ListRestingRequest())).hosts
        assert (listed.calls, listed.host, listed.off) == ("component", host, False)
        assert 0 < listed.left_s <= 60
        assert 'shoudan_hosts_resting{calls="component"} 1.0' in metrics.exposition().decode()
        # Another component is called as ever.
        _, paid = await harness.post("pay", by_code(await harness.component_mode(), "0000"))
        assert paid["data"]["status"] == "payed"
        monkeypatch.setenv("SHOUDAN_CLI_PAY_TARGET", f"127.0.0.1:{harness.pay.port}")
        for other in ("ORDER", "DELIVERY"):
            monkeypatch.setenv(f"SHOUDAN_CLI_{other}_TARGET", "127.0.0.1:1")
        told = await asyncio.to_thread(CliRunner().invoke, collected(), ["work", "resting"])
        assert f"component  {host}  resting, no answer for " in told.stdout
        # The others are away, so the list is not whole, and says so.
        assert (told.exit_code, "not whole" in told.stderr) == (1, True)
