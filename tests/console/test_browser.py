"""Promises that only a browser can show: no complaint, no page wider than its window, keys, and no scripts.

Collected where a chromium is installed; elsewhere the head of the run says that it is not.
"""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from tests.console.axe import grave
from tests.console.chromium import Window, apart, chromium
from tests.console.harness import Browser, Desk
from tests.console.test_console import ALL, an_order
from tests.console.visited import Places
from tests.poll import eventually

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(240)]

PICTURE_BYTES_MAX = 120_000
WIDER = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
# Which of it: what ends right of the window.
BEYOND = """[...document.querySelectorAll('main *')]
  .filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .map(e => `${e.tagName}.${e.className} ${e.textContent.trim().slice(0, 20)}`).slice(0, 5)"""
# What a reader of screens needs of every page; each gives what lacks it.
ACCESSIBLE = {
    "a field without a label": """[...document.querySelectorAll('input:not([type=hidden]), select')]
      .filter(e => !e.labels.length && !e.ariaLabel).map(e => e.outerHTML)""",
    "a button without a name": """[...document.querySelectorAll('button, a[href]')]
      .filter(e => !e.textContent.trim() && !e.ariaLabel).map(e => e.outerHTML)""",
    "a table without a caption": """[...document.querySelectorAll('table')]
      .filter(e => !e.caption).map(e => e.className)""",
    "a head without its scope": """[...document.querySelectorAll('th')]
      .filter(e => !e.scope).map(e => e.textContent)""",
    "a number twice": """(ids => ids.filter((id, at) => ids.indexOf(id) !== at))
      ([...document.querySelectorAll('[id]')].map(e => e.id))""",
    "not one heading": "[document.querySelectorAll('h1').length].filter(n => n !== 1)",
}
# The contrast of every text with what is behind it, at least 4.5 to 1 (3 for large ones).
CONTRAST = """(() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = colour => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const linear = v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = c => { const [r, g, b] = c.map(linear);
    return .2126 * r + .7152 * g + .0722 * b; };
  const over = (top, below) => {
    const share = top[3] / 255;
    return top.slice(0, 3).map((v, i) => v * share + below[i] * (1 - share));
  };
  const behind = e => {
    const stack = [];
    for (let one = e; one; one = one.parentElement) stack.push(rgba(getComputedStyle(one).backgroundColor));
    return stack.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const found = new Set();
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    const box = e.getBoundingClientRect();
    if (!own || box.width < 2 || box.height < 2 || !e.checkVisibility({opacityProperty: true})) continue;
    const style = getComputedStyle(e), back = behind(e), text = over(rgba(style.color), back);
    const [a, b] = [light(text), light(back)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.6 && style.fontWeight >= 700);
    if ((a + .05) / (b + .05) < (large ? 3 : 4.5)) {
      const ratio = ((a + .05) / (b + .05)).toFixed(2);
      found.add(`${e.tagName}.${e.className} ${ratio} ${e.textContent.trim().slice(0, 20)}`);
    }
  }
  return [...found];
})()"""


@pytest.fixture(scope="module")
async def watcher(desk: Desk) -> Browser:
    """An operator with every role."""
    return await desk.logged_in("watches", *ALL)


@pytest.fixture(scope="module")
async def window(
    desk: Desk, watcher: Browser, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Window]:
    """A browser in which that operator is logged in."""
    home = tmp_path_factory.mktemp("chromium")
    async with chromium(home, desk.system.console_url) as one:
        await one.cookies([("session", watcher.cookie()), ("form", watcher.cookie("form"))])
        yield one


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("language", "theme"), [("zh", "dark"), ("en", "light")])
async def test_no_page_complains_is_too_wide_hard_to_read_or_in_anybodys_way(
    everything: Places, window: Window, language: str, theme: str
) -> None:
    """Every page of the app with something in it: its texts are of a language, its colours of a theme."""
    await window.cookies([("lang", language), ("theme", theme)])
    window.wrong.clear()
    lacking: dict[str, object] = {}
    for path in [*everything.pages, "/orders?channel=nobody"]:
        await window.width(1280)
        await window.open(path)
        for what, script in ACCESSIBLE.items():
            if found := await window.run(script):
                lacking[f"{path}: {what}"] = found
        if found := await window.run(CONTRAST):
            lacking[f"{path}: contrast"] = found
        if found := await grave(window):
            lacking[f"{path}: axe"] = found
        for pixels in (360, 640):  # a phone, and 200 % of a small window
            await window.width(pixels)
            if await window.run(WIDER):
                lacking[f"{path}: wider than {pixels}"] = await window.run(BEYOND)
    assert lacking == {}
    assert window.wrong == []


async def test_what_is_hard_to_read_or_too_wide_is_found(window: Window) -> None:
    await window.width(1280)
    await window.open("/orders")
    assert await window.run(CONTRAST) == []
    await window.run("document.querySelector('h1').style.color = '#777777'")
    await window.run("document.querySelector('h1').style.backgroundColor = '#888888'")
    assert any("H1" in one for one in await window.run(CONTRAST))
    assert await window.run(WIDER) is False
    await window.run("document.querySelector('main').style.minWidth = '3000px'")
    assert await window.run(WIDER) is True


async def test_the_way_to_an_order_needs_no_mouse(desk: Desk, window: Window) -> None:
    order_id = await an_order(desk)
    await window.width(1280)
    await window.open("/")
    await window.press("/")
    assert await window.run("document.activeElement.id") == "search"
    for letter in "desk-0":
        await window.press(letter)
    await window.press("Enter")
    await window.at(f"/orders/{order_id}")
    await window.open("/orders?channel=test")
    first = await window.run("document.querySelector('tr[data-href]').dataset.href")
    await window.press("j")
    assert await window.run("document.querySelector('tr.in-hand').dataset.href") == first
    await window.press("j")
    await window.press("k")
    await window.press("Enter")
    await window.at(first)
    await window.press("?")
    assert await window.run("document.getElementById('keys').open") is True


async def test_search_offers_a_number_of_the_clipboard_and_sends_nothing(window: Window) -> None:
    await window.width(1280)
    await window.ask("Emulation.setFocusEmulationEnabled", enabled=True)
    await window.ask(
        "Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"]
    )
    await window.open("/orders")
    for text, offered in (("26113000000001", True), ("no number here", False)):
        await window.run("document.getElementById('search').value = ''")
        await window.run("document.activeElement.blur()")
        await window.run(f"navigator.clipboard.writeText('{text}')")
        await window.press("/")
        value = "document.getElementById('search').value"
        if offered:
            await eventually(partial(window.run, f"{value} === '{text}'"), 15, every_s=0.05)
            assert await window.run("getSelection().toString()") == text  # the next key replaces it
        else:
            assert await window.run(value) == ""
        assert await window.run("location.pathname") == "/orders"


async def test_groups_of_the_navigation_stay_as_they_were_opened(window: Window) -> None:
    await window.width(1280)
    await window.open("/")
    closed = "document.querySelector('.side details:not([open])')"
    name = await window.run(f"{closed}.dataset.group")
    group = f"document.querySelector('.side details[data-group=\"{name}\"]')"
    await window.run(f"{closed}.querySelector('summary').click()")
    await eventually(
        partial(window.run, f"(localStorage.getItem('opened') ?? '').includes('{name}')"), 15
    )
    await window.open("/orders")
    assert await window.run(f"{group}.open") is True
    await window.run(f"{group}.querySelector('summary').click()")
    await eventually(
        partial(window.run, f"!(localStorage.getItem('opened') ?? '').includes('{name}')"), 15
    )
    await window.open("/refunds")
    assert await window.run(f"{group}.open") is False
    # The group of the page itself is open whatever was kept, and without scripts.
    assert await window.run("document.querySelector('.side [aria-current]').offsetParent !== null")


async def test_a_double_click_sends_a_form_once_and_back_brings_it_alive(
    desk: Desk, window: Window, watcher: Browser
) -> None:
    person = await desk.logged_in("twice", *ALL)
    await window.cookies([("session", person.cookie()), ("form", person.cookie("form"))])
    rows = "SELECT count(*) FROM audit_log WHERE action LIKE '%SetSupplierState'"
    before = await desk.partner.sql("delivery", rows)
    await window.open("/suppliers/ycup/10")
    form = "document.querySelector('form.decide')"
    await window.run(
        f"{form}.querySelector('[name=state][value=open]').checked = true;"
        f"{form}.querySelector('[name=reason]').value = 'clicked twice';"
    )
    button = f"{form}.querySelector('button')"
    await window.run(f"{button}.click(); {button}.click()")
    await window.at("/suppliers/ycup/10")

    async def written() -> bool:
        return await desk.partner.sql("delivery", rows) > before

    await eventually(written, 30, every_s=0.1)
    assert await desk.partner.sql("delivery", rows) == before + 1
    await window.run("history.back()")
    await eventually(partial(window.run, f"{button}?.disabled === false"), 15, every_s=0.05)
    # A session that has ended meanwhile: the form leads to the login, and nothing is done.
    await desk.sql("DELETE FROM console_session WHERE operator = 'twice'")
    await window.run(
        f"{form}.querySelector('[name=state][value=hold]').checked = true;"
        f"{form}.querySelector('[name=reason]').value = 'too late'; {button}.click()"
    )
    await window.at("/login")
    assert await desk.partner.sql("delivery", rows) == before + 1
    await window.cookies([("session", watcher.cookie()), ("form", watcher.cookie("form"))])


async def test_a_filter_changes_the_list_and_the_address_without_a_reload(
    window: Window,
) -> None:
    await window.open("/orders")
    await window.run("window.same = true")
    await window.run(
        "(() => { const one = document.querySelector('select[name=status]'); one.value = '0';"
        " one.dispatchEvent(new Event('change', {bubbles: true})); })()"
    )

    async def narrowed() -> bool:
        return "status=0" in await window.run("location.search")

    await eventually(narrowed, 15, every_s=0.05)
    assert await window.run("window.same") is True
    states = await window.run(
        "[...document.querySelectorAll('td.k-status .state')].map(e => e.className)"
    )
    assert states


async def test_the_main_ways_need_no_scripts(desk: Desk, window: Window) -> None:
    browser: Browser = await desk.logged_in("plain", "support", "ops")
    await window.cookies(
        [("session", browser.cookie()), ("form", browser.cookie("form")), ("lang", "en")]
    )
    await window.scripts(on=False)
    try:
        await window.open("/orders?channel=test&status=0")
        document = await window.ask("DOM.getDocument")
        root = document["root"]["nodeId"]
        rows = await window.ask("DOM.querySelectorAll", nodeId=root, selector="tr[data-href] a")
        assert rows["nodeIds"]
        copy = await window.ask("DOM.querySelectorAll", nodeId=root, selector=".copy:not([hidden])")
        assert copy["nodeIds"] == []  # what needs a script is not offered
    finally:
        await window.scripts(on=True)


async def test_both_themes_look_different(window: Window) -> None:
    seen: list[bytes] = []
    for theme in ("light", "dark"):
        await window.cookies([("theme", theme)])
        await window.open("/orders")
        seen.append(await window.picture())
    assert all(one.startswith(b"\x89PNG") for one in seen)
    assert seen[0] != seen[1]


async def test_what_the_readme_shows_is_what_there_is(
    desk: Desk, window: Window, tmp_path: Path
) -> None:
    """Kept where SHOUDAN_PICTURES says; looked at by a person before it goes into docs/console."""
    folder = Path(os.environ.get("SHOUDAN_PICTURES") or tmp_path)
    person = await desk.logged_in("pictures", *ALL)
    await window.cookies([("session", person.cookie()), ("form", person.cookie("form"))])
    order_id = await an_order(desk)
    for language, theme, name, path in (
        ("zh", "light", "overview", "/"),
        ("en", "light", "overview", "/"),
        ("zh", "light", "order", f"/orders/{order_id}"),
        ("en", "dark", "order", f"/orders/{order_id}"),
    ):
        await window.cookies([("lang", language), ("theme", theme)])
        await window.width(1280)
        await window.open(path)
        title = await window.run("document.querySelector('h1').textContent")
        assert title.strip()
        picture = await window.ask("Page.captureScreenshot", format="webp", quality=60)
        shown = base64.b64decode(picture["data"])
        assert shown[8:12] == b"WEBP"
        assert len(shown) < PICTURE_BYTES_MAX
        (folder / f"{name}-{language}.webp").write_bytes(shown)


async def test_one_proposes_and_another_approves_with_keys_alone(
    desk: Desk, window: Window
) -> None:
    """Two windows of two persons. Who has both roles cannot approve its own: no button, and refused."""
    maker = await desk.logged_in("proposes-and-checks", "admin", "finance-checker")
    await window.cookies(
        [("session", maker.cookie()), ("form", maker.cookie("form")), ("lang", "en")]
    )
    await window.width(1280)
    await window.open("/catalogue/lines/3")
    await window.tab_to("input[name=share-ycup]")
    await window.ask("Input.insertText", text="5")
    await window.tab_to("main form button.btn-primary")
    await window.press("Enter")
    await window.shows("Make exactly this")
    await window.tab_to("input[name=reason]")
    await window.type("tried")
    await window.tab_to("button[value=propose]")
    await window.press("Enter")
    await window.shows("Waits for a second person")
    number = await window.run("document.querySelector('main .card [data-copy]').dataset.copy")
    path = f"/proposals/order/{number}"
    await window.open(path)
    assert await window.run("document.querySelector('[value=approve]')") is None
    refused = await maker.post(path, {"decision": "approve", "reason": "my own"})
    assert refused.status in {400, 403}
    async with apart(window) as other:
        checker = await desk.logged_in("approves", "finance-checker")
        await other.cookies(
            [("session", checker.cookie()), ("form", checker.cookie("form")), ("lang", "en")]
        )
        await other.open(path)
        await other.tab_to("input[name=reason]")
        await other.type("seen")
        await other.tab_to("button[value=approve]")
        await other.press("Enter")
        await other.shows("Applied")
        assert other.wrong == []
    await window.open(path)
    await window.shows("Applied")
