"""The partners' pages: complete in both languages, without a dead link, and served from a list alone."""

from __future__ import annotations

import gzip
import json
import re
import zipfile
from html.parser import HTMLParser
from importlib import metadata
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urljoin, urlsplit

import pytest
import yaml

from shoudan_gateway import advice, docs_site, openapi_parts, partners
from shoudan_gateway.docs_site import DocsSite
from tests.gateway.test_attacks import raw
from tools import partner_protocols, partner_site

ODD = (
    "/docs/manifest.json",
    "/docs/../config.py",
    "/docs/%2e%2e/config.py",
    "/docs/..%2fconfig.py",
    "/docs//index.md",
    "/docs/./index.md",
    "/docs/index.md%00",
    "/docs/files/../../docs_site.py",
    "//docs/",
    "/docs/%69ndex.md",
)
SHOWN = [page.name for page in partner_protocols.PAGES]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(metadata, "distribution", _not_installed)
        partner_site.build(folder)
    return folder


def _not_installed(name: str) -> Distribution:
    """The image makes the pages before anything of shoudan is installed in it."""
    if name.startswith("shoudan"):
        raise PackageNotFoundError(name)
    return Distribution.from_name(name)


@pytest.fixture(scope="module")
def site(built: Path) -> dict[str, str]:
    """Every text that is served, by its path."""
    manifest = json.loads((built / "manifest.json").read_text("utf-8"))
    found: dict[str, str] = {}
    for path, entry in manifest["files"].items():
        body = (built / entry["file"]).read_bytes()
        if entry["type"].startswith("text/"):
            found[path] = (gzip.decompress(body) if entry.get("gzip") else body).decode()
    return found


class Reader(HTMLParser):
    """What a page leads to, and the anchors that it has."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.anchors.add(given["id"])
        if "href" in given:
            (self.loaded if tag == "link" else self.links).add(given["href"])
        if "src" in given:
            self.loaded.add(given["src"])


@pytest.fixture(scope="module")
def pages(site: dict[str, str]) -> dict[str, Reader]:
    return {path: Reader(text) for path, text in site.items() if path.endswith("/")}


def test_every_page_is_there_in_both_languages_and_as_markdown(site: dict[str, str]) -> None:
    names = set(partner_site.sources("zh"))
    assert names == set(partner_site.sources("en"))
    assert {f"protocols/{name}.md" for name in SHOWN} <= names
    for name in names:
        html = re.sub(r"(^|/)index$", r"\1", name.removesuffix(".md"))
        for root in ("/docs/", "/docs/en/"):
            assert f"{root}{html}/".replace("//", "/") in site
            assert f"{root}{name}" in site


def test_every_protocol_but_inner_ones_has_its_page() -> None:
    outer = {name for name, one in partners.load().items() if one.role not in {"internal", "test"}}
    assert set(SHOWN) == outer


def test_no_link_leads_nowhere(pages: dict[str, Reader], site: dict[str, str], built: Path) -> None:
    known = DocsSite(built).paths | {"/openapi.json"}
    wrong: list[str] = []
    assert "api/" in pages["/docs/"].links
    for path, page in pages.items():
        for link in page.links | page.loaded:
            target = urlsplit(urljoin(path, link))
            if target.scheme not in {"", "http", "https"} or target.netloc:
                continue
            if target.path not in known:
                wrong.append(f"{path}: {link}")
            there = pages.get(target.path)
            if target.fragment and there and unquote(target.fragment) not in there.anchors:
                wrong.append(f"{path}: {link} has no such anchor")
    assert wrong == []
    assert len(pages) >= 50


def test_nothing_is_fetched_from_elsewhere(pages: dict[str, Reader]) -> None:
    assert not [one for page in pages.values() for one in page.loaded if urlsplit(one).netloc]


def test_markdown_links_to_what_is_there(site: dict[str, str]) -> None:
    for path, text in site.items():
        if not path.endswith(".md"):
            continue
        for link in re.findall(r"\]\(([^)#\s]+\.md)", text):
            if not urlsplit(link).netloc:
                assert urljoin(path, link) in site, f"{path}: {link}"


def test_what_machines_read_lists_every_page(site: dict[str, str]) -> None:
    for language, root in (("zh", "/docs/"), ("en", "/docs/en/")):
        listed = set(re.findall(r"\]\((/docs/\S+\.md)\)", site[f"{root}llms.txt"]))
        assert listed <= set(site)
        assert {f"{root}{name}" for name in partner_site.sources(language)} == listed
    assert site["/llms.txt"] == site["/docs/llms.txt"]


def test_every_error_code_has_its_place_on_the_page(pages: dict[str, Reader]) -> None:
    wanted = {code.lower() for code in advice.MEANINGS} | {"codes"}
    for path in ("/docs/errors/", "/docs/en/errors/"):
        assert wanted <= pages[path].anchors


def test_english_pages_of_calls_have_no_chinese_but_the_wires() -> None:
    """What is declared in Chinese is said in English; answers and refusals are documented in Chinese."""
    for name, text in partner_protocols.pages("en").items():
        for row in re.findall(
            r"^\| `[^|]+`[^|]* \| (?:yes|no) \|[^|]*\| (.*) \|$", text, re.MULTILINE
        ):
            left = re.sub(r"[元分]", "", row)
            assert not partner_protocols.CJK.search(left), f"{name}: {row}"


def test_every_translation_is_used() -> None:
    used: set[str] = set()
    for one in partners.load().values():
        used |= {row["description"] for row in openapi_parts.asked_version(one)}
        for endpoint in one.endpoints:
            used.add(endpoint.title)
            used |= {row.about for row in getattr(endpoint, "fields", ())}
            body = getattr(endpoint, "body", None) or {}
            used |= {row[3] for row in partner_protocols._members(body, "", set())}
    for language, texts in partner_protocols.translations().items():
        assert set(texts) <= used, language


def test_the_rule_of_unknown_stands_in_bold_where_one_begins(site: dict[str, str]) -> None:
    assert "**What is not JSON is unknown: ask.**" in site["/docs/en/retries.md"]
    assert "**返回的不是 JSON，就是结果未知：请查询。**" in site["/docs/retries.md"]
    for path in ("/docs/index.md", "/docs/en/index.md"):
        assert re.search(r"\*\*.*HTTP 5xx.*JSON", site[path])


async def test_pages_are_served_with_a_tag_and_a_policy(
    built: Path, open_gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docs_site, "FOLDER", built)
    front = await open_gateway()
    async with front.http.get(front.url + "/docs/", headers={"Accept-Encoding": "gzip"}) as page:
        assert (page.status, page.content_type) == (200, "text/html")
        assert "开始" in await page.text()
        tag = page.headers["ETag"]
        policy = page.headers["Content-Security-Policy"]
        assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in policy
    scripts = policy.partition("script-src ")[2].partition(";")[0]
    assert "unsafe" not in scripts
    assert set(partner_site.inline_scripts(await text_of(front, "/docs/"))) <= {
        one.strip("'") for one in scripts.split()
    }
    again = await front.http.get(front.url + "/docs/", headers={"If-None-Match": tag})
    assert (again.status, await again.read()) == (304, b"")
    assert (await front.ask("/docs/faq/", "HEAD"))[0] == 200
    assert (await front.ask("/docs/", "POST"))[0] == 405
    for short in ("/docs", "/docs/faq"):
        moved = await front.http.get(front.url + short, allow_redirects=False)
        assert (moved.status, moved.headers["Location"]) == (308, f"{short}/")
    assert "/docs/errors.md" in await text_of(front, "/llms.txt")


async def text_of(front: Any, path: str) -> str:
    async with front.http.get(front.url + path) as answer:
        assert answer.status == 200
        return await answer.text()


async def test_what_is_not_listed_is_not_served(
    built: Path, open_gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docs_site, "FOLDER", built)
    front = await open_gateway()
    assert [path for path in ODD if await raw(front.port, path) not in {400, 404}] == []


async def test_switched_off_the_page_of_errors_alone_is_left(
    built: Path, open_gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docs_site, "FOLDER", built)
    front = await open_gateway(docs=False)
    assert (await front.ask("/docs/"))[0] == 404
    assert (await front.ask("/llms.txt"))[0] == 404
    assert (await front.ask(advice.PAGE))[0] == 200


OUTER = [one for one in partners.load().values() if one.role not in {"internal", "test"}]
PATHS = {endpoint.path for one in OUTER for endpoint in one.endpoints}
SIGNED = {one.name for one in OUTER if one.role == "channel" and one.signed is None}


def test_the_collection_of_postman_has_every_call_of_partners(built: Path) -> None:
    packed = (built / "files/postman.json.gz").read_bytes()
    made = json.loads(gzip.decompress(packed))
    assert made["info"]["schema"].endswith("/v2.1.0/collection.json")
    requests = [one["request"] for folder in made["item"] for one in folder["item"]]
    shown = {re.sub(r":(\w+)", r"{\1}", "/" + "/".join(one["url"]["path"])) for one in requests}
    assert shown == PATHS
    assert {one["name"] for one in made["item"] if "event" in one} == SIGNED
    sent = next(one for one in requests if one["url"]["path"] == ["order", "request"])
    assert {"key": "face", "value": "200"} in sent["url"]["query"]


def test_the_collection_of_bruno_has_every_call_of_partners(built: Path) -> None:
    """The members that Bruno's own reader knows (OpenCollection 1.0), and no others."""
    with zipfile.ZipFile(built / "files/bruno.zip") as pack:
        made = {name: yaml.safe_load(pack.read(name)) for name in pack.namelist()}
    root = made.pop("shoudan/opencollection.yml")
    assert root["opencollection"] == "1.0.0"
    variables = made.pop("shoudan/environments/sandbox.yml")["variables"]
    assert [one["name"] for one in variables] == ["base", "secret", "token"]
    folders = {name: one for name, one in made.items() if name.endswith("/folder.yml")}
    signed = {one["info"]["name"] for one in folders.values() if "request" in one}
    assert signed == SIGNED
    requests = {name: one for name, one in made.items() if name not in folders}
    shown = {one["http"]["url"].partition("?")[0] for one in requests.values()}
    assert {re.sub(r":(\w+)", r"{\1}", one.removeprefix("{{base}}")) for one in shown} == PATHS
    for name, one in requests.items():
        assert f"{name.rpartition('/')[0]}/folder.yml" in folders
        assert set(one) == {"info", "http", "docs"}, name
        assert set(one["http"]) <= {"method", "url", "params", "body", "auth"}, name
        assert one["info"]["type"] == "http"
        sent = dict(parse_qsl(urlsplit(one["http"]["url"]).query))
        rows = one["http"].get("params", ())
        assert sent == {row["name"]: row["value"] for row in rows if row["type"] == "query"}, name
    order = requests["shoudan/channel/order-request-get.yml"]["http"]
    assert {"name": "face", "value": "200", "type": "query"} in order["params"]
    bodies = [
        json.loads(one["http"]["body"]["data"])
        for one in requests.values()
        if "body" in one["http"]
    ]
    assert bodies


def test_every_call_of_partners_can_be_tried_in_both_languages(
    built: Path, pages: dict[str, Reader]
) -> None:
    for language, root in (("zh", "/docs/"), ("en", "/docs/en/")):
        packed = built / f"{root}files/calls.{language}.json.gz".removeprefix("/docs/")
        calls = json.loads(gzip.decompress(packed.read_bytes()))
        assert {one["path"] for one in calls} == PATHS
        assert len({one["id"] for one in calls}) == len(calls)
        changing = {one["path"] for one in calls if one["writes"]}
        assert {"/order/request", "/refund/general", "/order/cancel"} <= changing
        assert not {"/order/query", "/balance/query", "/product/list"} & changing
        for one in calls:
            page, _, anchor = urljoin(f"{root}api/", one["page"]).partition("#")
            assert anchor in pages[page].anchors, one["id"]
