"""The partners' page on which calls are tried, in a browser: filled in, signed there, sent, its answer seen.

Collected where a chromium is installed; elsewhere the head of the run says that it is not.
"""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shoudan_cli.system import System
from shoudan_cli.up import noted
from shoudan_gateway import docs_site
from tests.command import shoudan
from tests.console import axe
from tests.console.chromium import Window, chromium
from tests.poll import eventually
from tests.test_tidy import ROOT

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]
FITS = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
VECTORS = ROOT / "docs/reference/http/signing/vectors.json"


async def picked(window: Window, call: str) -> None:
    """A call of the list, as a hand chooses it."""
    await window.run(
        f"{{const list = document.getElementById('try-call'); list.value = {call!r};"
        "list.dispatchEvent(new Event('change'))}; 0"
    )
    assert await window.run("location.hash") == f"#{call}"


async def proves(window: Window, secret: str) -> None:
    await window.run(f"document.getElementById('try-secret').value = {secret!r}; 0")


async def sent(window: Window, *, sure: bool = False) -> tuple[str, Any]:
    """Press the button; the line of the status and the answer that are shown."""
    await window.run("document.getElementById('try-answer').hidden = true; 0")
    if sure:
        await window.run("document.getElementById('try-sure').click(); 0")
    await window.run("document.getElementById('try-send').click(); 0")
    await eventually(
        partial(window.run, "!document.getElementById('try-answer').hidden"), 30, every_s=0.05
    )
    return (
        await window.run("document.getElementById('try-status').textContent"),
        json.loads(await window.run("document.getElementById('try-reply').textContent")),
    )


async def test_a_call_is_signed_sent_and_answered_on_the_page(
    spare_system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (docs_site.FOLDER / "manifest.json").exists(), "run: just site"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    env = {**os.environ, "HOME": str(tmp_path)}
    async with noted(spare_system, None):
        code, said = await shoudan(
            "partner", "key", "issue", "channel", "test", "--reason", "try", "--json", env=env
        )
    assert code == 0, said
    secret = json.loads(said.splitlines()[-1])["secret"]
    pictures = os.environ.get("SHOUDAN_PICTURES")
    async with chromium(tmp_path / "home", spare_system.gateway_url) as window:
        for root, language in (("/docs/", "zh"), ("/docs/en/", "en")):
            await window.width(1280)
            await window.open(f"{root}api/#balance_query_get")
            there = "!document.getElementById('try-form').hidden"
            await eventually(partial(window.run, there), 30, every_s=0.05)
            await proves(window, "0" * 32)
            status, refused = await sent(window)
            assert (status.split(" ·")[0], refused["code"]) == ("HTTP 403", 403), refused
            await proves(window, secret)

            async def taken() -> bool:
                status, body = await sent(window)
                return status.startswith("HTTP 200") and "balance" in body

            await eventually(taken, 30, every_s=0.5)  # until the gateway has the new secret
            await picked(window, "order_request_get")
            await window.run("document.getElementById('try-send').click(); 0")
            assert await window.run("document.getElementById('try-answer').hidden"), "asked again"
            status, order = await sent(window, sure=True)
            assert (status.split(" ·")[0], order["status"]) == ("HTTP 200", 30), order
            await picked(window, "order_query_get")

            async def succeeded(number: str = order["request_no"]) -> bool:
                _, body = await sent(window)
                assert body["request_no"] == number, "carried on from the order"
                return body["status"] == 0

            await eventually(succeeded, 60, every_s=0.5)
            opened = "document.querySelectorAll('#try details').forEach(one => one.open = true); 0"
            await window.run(opened)
            text = await window.run("document.getElementById('try-text').textContent")
            assert text.startswith("HMAC-SHA256-V2\nGET\n/order/query\nchannel_no=test&")
            for width in (1280, 360):
                await window.width(width)
                assert await axe.grave(window) == []
                assert await window.run(FITS)
                if pictures:
                    shot = Path(pictures) / f"try-{language}-{width}.png"
                    shot.write_bytes(await window.picture())
        for vector in json.loads(VECTORS.read_text("utf-8")):
            if vector["method"] == "GET":
                given = json.dumps([vector[one] for one in ("method", "path", "params", "key")])
                made = await window.run(f"window.shoudanSign(...{given})")
                assert made == [vector["text"], vector["sign"]], vector["name"]
    # The browser says of each refusal that it was one; the theme looks for a list of pages.
    assert [one for one in window.wrong if "403" not in one and "/sitemap.xml" not in one] == []
