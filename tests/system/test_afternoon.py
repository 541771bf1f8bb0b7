"""A partner's afternoon: what the start page prints, and nothing else, in both languages."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import aiohttp
import pytest

from shoudan_cli import life
from shoudan_cli.system import System, demo_catalogue
from shoudan_cli.up import noted
from shoudan_configuration.document import load
from shoudan_gateway import docs_site
from tests.command import shoudan
from tests.poll import eventually
from tests.test_tidy import ROOT

pytestmark = pytest.mark.system
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN_S = 90


@pytest.mark.parametrize("language", ["zh", "en"])
async def test_the_start_page_works_as_it_stands(
    language: str, spare_system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (docs_site.FOLDER / "manifest.json").exists(), "run: just site"
    folder = ROOT / "docs/site" / language
    pages = [(folder / f"{name}.md").read_text("utf-8") for name in ("index", "sandbox")]
    script = "set -eu\n" + "\n".join(block for page in pages for block in BLOCK.findall(page))
    system = spare_system
    env = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "BASE": system.gateway_url,
        "SANDBOX": system.sandbox_url,
        "HOME": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path),
    }
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    async with noted(system, None):  # as `shoudan up` does, so that its commands find it
        done = await asyncio.create_subprocess_exec(
            "bash", "-c", script, cwd=tmp_path, env=env,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await asyncio.wait_for(done.communicate(), RUN_S)
    text = said.decode()
    assert done.returncode == 0, text
    assert text.count('"status":30') >= 2, "orders were taken"
    assert re.search(r'"cards":\[\{[^]]*"number":"', text), "codes were given"
    assert "verified: True" in text, "a notify was verified"
    assert re.search(r'"refund_no":"r\w+"[^}]*"status":0', text), "a refund ended"
    assert '"result":"CANCELLED"' in text
    assert re.search(r'"status":"READY"', text), "a bill was made"
    assert text.rstrip().endswith("turned"), "the inbox was given the secret"
    assert "业务类型" in text.rpartition('"status":"READY"')[2], "and downloaded"


async def test_orders_are_triggered_and_the_list_sees_what_was_called(
    spare_system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    env = {**os.environ, "HOME": str(tmp_path)}
    async with noted(spare_system, None):
        for kind, ended in (("success", "status 0 "), ("review", "under way")):
            code, said = await shoudan("trigger", kind, env=env)
            assert (code, ended in said.replace("\n", " ")) == (0, True), said

        async def seen() -> bool:
            code, said = await shoudan("partner", "checklist", "test", "--probe", env=env)
            points = [line for line in said.splitlines() if line[:1] in "✔✘"]
            done = " ".join(line for line in points if line[0] == "✔")
            assert (code, len(points)) == (1, 8)
            # The inbox of the sandbox was given no secret of this channel, so it takes whatever comes.
            verified = "a wrong signature was acknowledged" in said
            return verified and "an order was queried" in done

        await eventually(seen, 30, every_s=1)


async def test_the_printed_example_of_each_channel_works(spare_system: System) -> None:
    """What `shoudan up` prints, run by a shell as it stands there."""
    printed = life.commands(spare_system.gateway_url)
    sold = {
        one.channel_no
        for one in load(demo_catalogue(), {"SHOUDAN_SANDBOX_URL": ""}).down_channels
        if one.enabled
    }
    assert set(printed) == sold
    for channel, command in printed.items():
        done = await asyncio.create_subprocess_exec(
            "bash", "-c", command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await asyncio.wait_for(done.communicate(), RUN_S)
        body = json.loads(said)
        assert (done.returncode, body["status"], body["channel_no"]) == (0, 30, channel), said
        query = f"/order/query?channel_no={channel}&request_no={body['request_no']}"

        async def succeeded(url: str = spare_system.gateway_url + query) -> bool:
            async with aiohttp.ClientSession() as http, http.get(url) as answer:
                return (await answer.json())["status"] == 0

        await eventually(succeeded, 30)


def test_both_pages_print_the_same_commands() -> None:
    zh, en = (
        BLOCK.findall((ROOT / "docs/site" / one / "index.md").read_text("utf-8"))
        for one in ("zh", "en")
    )
    assert [re.sub(r"#.*", "", one) for one in zh] == [re.sub(r"#.*", "", one) for one in en]
