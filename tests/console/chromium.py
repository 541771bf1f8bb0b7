"""A real browser without a screen: Debian's chromium, steered over its own debugging protocol."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import re
import shutil
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.poll import eventually

PROGRAM: Final = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--remote-debugging-port=0",
)
START_S: Final = 30.0
TABS_MAX: Final = 200


@dataclass
class Window:
    """One page of the browser, with what went wrong in it."""

    socket: aiohttp.ClientWebSocketResponse
    url: str
    port: str = ""
    numbers: Any = field(default_factory=lambda: itertools.count(1))
    answers: dict[int, asyncio.Future[Any]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    loads: dict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))

    async def listen(self) -> None:
        """Take what the browser says: answers, loads, and whatever it complains of."""
        async for message in self.socket:
            said = json.loads(message.data)
            if (answer := self.answers.pop(said.get("id", 0), None)) is not None:
                answer.set_result(said)
            elif said.get("method") == "Page.lifecycleEvent":
                if said["params"]["name"] == "load":
                    self.loads[said["params"]["loaderId"]].set()
            elif said.get("method") == "Runtime.exceptionThrown":
                self.wrong.append(json.dumps(said["params"]["exceptionDetails"])[:500])
            elif said.get("method") == "Log.entryAdded":
                entry = said["params"]["entry"]
                if entry["level"] == "error" or entry["source"] == "security":
                    self.wrong.append(f"{entry['source']}: {entry['text']} {entry.get('url', '')}")

    async def ask(self, method: str, **params: Any) -> Any:
        """One command; what the browser answers."""
        number = next(self.numbers)
        self.answers[number] = asyncio.get_running_loop().create_future()
        await self.socket.send_json({"id": number, "method": method, "params": params})
        said = await asyncio.wait_for(self.answers[number], START_S)
        assert "error" not in said, said
        return said["result"]

    async def open(self, path: str) -> None:
        """Go to an address and wait until everything of it is there; the page before may still be loading."""
        gone = await self.ask("Page.navigate", url=self.url + path)
        await asyncio.wait_for(self.loads[gone["loaderId"]].wait(), START_S)

    async def run(self, script: str) -> Any:
        """What a script in the page gives; in the debugger's world, which the page's policy leaves alone."""
        found = await self.ask(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def press(self, key: str) -> None:
        """A key, as a hand would."""
        text = {"text": "\r"} if key == "Enter" else {"text": key} if len(key) == 1 else {}
        number = {"Enter": 13, "Tab": 9, " ": 32, "ArrowDown": 40}.get(key)
        code = {"windowsVirtualKeyCode": number} if number else {}
        await self.ask("Input.dispatchKeyEvent", type="keyDown", key=key, **text, **code)
        await self.ask("Input.dispatchKeyEvent", type="keyUp", key=key, **code)

    async def type(self, text: str) -> None:
        """Letter by letter into what has the focus."""
        for letter in text:
            await self.press(letter)

    async def tab_to(self, selector: str) -> None:
        """Press Tab until the focus is there, as who has no mouse."""
        for _ in range(TABS_MAX):
            await self.press("Tab")
            if await self.run(f"document.activeElement.matches({json.dumps(selector)})"):
                return
        raise AssertionError(f"Tab does not come to {selector}")

    async def shows(self, text: str) -> None:
        """Wait until the page is whole and says this."""

        async def there() -> bool:
            script = "document.readyState === 'complete' && document.body.innerText"
            return text in str(await self.run(script))

        await eventually(there, 30, every_s=0.05)

    async def at(self, path: str) -> None:
        """Wait until the page is this one, whole."""

        async def there() -> bool:
            where = await self.run("location.pathname + '|' + document.readyState")
            return where == f"{path}|complete"

        await eventually(there, 15, every_s=0.05)

    async def width(self, pixels: int) -> None:
        await self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=pixels,
            height=800,
            deviceScaleFactor=1,
            mobile=False,
        )
        await eventually(partial(self.run, f"innerWidth === {pixels}"), 15, every_s=0.02)
        # The frame after the next is laid out for that width.
        await self.run(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    async def scripts(self, *, on: bool) -> None:
        await self.ask("Emulation.setScriptExecutionDisabled", value=not on)

    async def cookies(self, names: Sequence[tuple[str, str]]) -> None:
        for name, value in names:
            await self.ask("Network.setCookie", name=name, value=value, url=self.url)

    async def picture(self) -> bytes:
        """The page as it is seen, as PNG."""
        shot = await self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(shot["data"])


@asynccontextmanager
async def chromium(home: Path, url: str) -> AsyncIterator[Window]:
    """A browser with a page; its files are in `home`, which goes with the test."""
    assert PROGRAM is not None
    process = await asyncio.create_subprocess_exec(
        PROGRAM, *FLAGS, f"--user-data-dir={home}", "about:blank", stderr=asyncio.subprocess.PIPE
    )
    try:
        port = await asyncio.wait_for(_port(process), START_S)
        async with aiohttp.ClientSession() as http:
            async with http.get(f"http://127.0.0.1:{port}/json") as answer:
                pages = [one for one in await answer.json() if one["type"] == "page"]
            async with (
                http.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as socket,
                _heard(Window(socket, url, port)) as window,
            ):
                yield window
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def _heard(window: Window) -> AsyncIterator[Window]:
    listening = asyncio.ensure_future(window.listen())
    for domain in ("Page", "Runtime", "Log", "Network"):
        await window.ask(f"{domain}.enable")
    await window.ask("Page.setLifecycleEventsEnabled", enabled=True)
    yield window
    listening.cancel()


@asynccontextmanager
async def apart(window: Window) -> AsyncIterator[Window]:
    """A window of another person: of the same program, in a context with cookies of its own."""
    async with aiohttp.ClientSession() as http:
        async with http.get(f"http://127.0.0.1:{window.port}/json/version") as answer:
            whole = (await answer.json())["webSocketDebuggerUrl"]
        async with http.ws_connect(whole) as socket:
            browser = Window(socket, window.url, window.port)
            listening = asyncio.ensure_future(browser.listen())
            context = (await browser.ask("Target.createBrowserContext"))["browserContextId"]
            asked = {"url": "about:blank", "browserContextId": context}
            target = (await browser.ask("Target.createTarget", **asked))["targetId"]
            page = f"ws://127.0.0.1:{window.port}/devtools/page/{target}"
            async with (
                http.ws_connect(page, max_msg_size=0) as own,
                _heard(Window(own, window.url, window.port)) as one,
            ):
                yield one
            await browser.ask("Target.disposeBrowserContext", browserContextId=context)
            listening.cancel()


async def _port(process: asyncio.subprocess.Process) -> str:
    """Where it takes commands, as it says itself."""
    assert process.stderr is not None
    while line := await process.stderr.readline():
        if found := re.search(rb"ws://127\.0\.0\.1:(\d+)/", line):
            return found[1].decode()
    raise AssertionError("chromium did not start")
