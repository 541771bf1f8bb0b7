"""The partners' pages in a browser: none too wide for a phone, none hard to read, in both themes.

Collected where a chromium is installed; elsewhere the head of the run says that it is not.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shoudan_gateway import docs_site
from tests.console import axe
from tests.console.chromium import chromium
from tests.console.test_browser import BEYOND, CONTRAST, WIDER
from tests.poll import eventually
from tools import partner_site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

NEEDED = {
    "not one heading": "[document.querySelectorAll('h1').length].filter(n => n !== 1)",
    "a picture without words": """[...document.querySelectorAll(
      'img:not([alt]), svg[role=img]:not([aria-label])')]
      .filter(e => !e.querySelector('title')).map(e => e.outerHTML.slice(0, 80))""",
    "no language": "[document.documentElement.lang].filter(one => !one)",
    "a link without words": """[...document.querySelectorAll('main a[href]')]
      .filter(e => !e.textContent.trim() && !e.ariaLabel && !e.title).map(e => e.outerHTML.slice(0, 80))""",
}
PAGES = (
    "",
    "signing/",
    "notify/",
    "retries/",
    "sandbox/",
    "errors/",
    "states/",
    "protocols/channel/",
    "api/",
    "faq/",
)
# The page where calls are tried with all that it can show; false until its form is there.
TRYING = """(() => {
  if (document.getElementById('try-form').hidden) return false;
  document.getElementById('try-answer').hidden = false;
  document.getElementById('try-sent').textContent = 'GET http://127.0.0.1/?' + 'a=b&'.repeat(90);
  document.getElementById('try-reply').textContent = '{"code": 200}';
  for (const one of document.querySelectorAll('#try details')) one.open = true;
  return true;
})()"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("root", ["/docs/", "/docs/en/"])
async def test_no_page_is_too_wide_or_hard_to_read(
    root: str, theme: str, open_gateway: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partner_site.build(tmp_path / "site")
    monkeypatch.setattr(docs_site, "FOLDER", tmp_path / "site")
    front = await open_gateway()
    lacking: dict[str, object] = {}
    async with chromium(tmp_path / "home", front.url) as window:
        features = [{"name": "prefers-color-scheme", "value": theme}]
        await window.ask("Emulation.setEmulatedMedia", features=features)
        for page in PAGES:
            path = root + page
            await window.width(1280)
            await window.open(path)
            if page == "api/":
                await eventually(partial(window.run, TRYING), 30, every_s=0.05)
            for what, script in NEEDED.items():
                if found := await window.run(script):
                    lacking[f"{path}: {what}"] = found
            if found := await window.run(CONTRAST):
                lacking[f"{path}: contrast"] = found
            await window.width(360)
            await window.open(path)  # as a phone does
            if page == "api/":
                await eventually(partial(window.run, TRYING), 30, every_s=0.05)
            if await window.run(WIDER):
                lacking[f"{path}: wider than 360"] = await window.run(BEYOND)
            if found := await axe.grave(window):
                lacking[f"{path}: axe"] = found
        await window.run("document.body.append(document.createElement('img'))")
        assert any("image-alt" in one for one in await axe.grave(window)), "what lacks it is found"
    assert lacking == {}
    # The theme looks for a list of pages, which this site says in llms.txt.
    assert [one for one in window.wrong if "/sitemap.xml" not in one] == []
