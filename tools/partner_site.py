"""Builds the partners' documentation site: `python -m tools.partner_site`, what the gateway serves at /docs.

Chinese at /docs/, English at /docs/en/. Hand-written pages stand in docs/site, guides in docs/reference/http;
the pages of protocols, errors, accounts and pictures are made of the tables that run. Each page is there as
Markdown, too. What may be served is listed, with its hash, in manifest.json: the gateway serves nothing else.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast

from shoudan_fakes.scripts import SCRIPTS, chinese
from shoudan_gateway import advice, openapi, partners, versions
from shoudan_order import states
from shoudan_order.config import NOTIFY_WAITS_S
from tools import (
    partner_bruno,
    partner_pictures,
    partner_postman,
    partner_protocols,
    partner_try,
    signing_clients,
)
from tools.partner_protocols import EN, ZH

ROOT: Final = Path(__file__).resolve().parent.parent
SITE: Final = ROOT / "docs/site"
HTTP: Final = ROOT / "docs/reference/http"
OUT: Final = ROOT / "gateway/shoudan_gateway/site"
LANGUAGES: Final = (ZH, EN)
GUIDES: Final = tuple(guide for page in partner_protocols.PAGES for guide in page.guides)
TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".md": "text/markdown; charset=utf-8",
    **dict.fromkeys((".txt", ""), "text/plain; charset=utf-8"),
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".png": "image/png",
    ".zip": "application/zip",
    **dict.fromkeys((".py", ".java", ".php", ".go", ".cs"), "text/plain; charset=utf-8"),
}
SQUEEZED_FROM: Final = 1024  # bytes; smaller files are sent as they are
TITLE: Final = {ZH: "收单 · 开发者文档", EN: "shoudan for partners"}
ABOUT: Final = {
    ZH: "> 收单的 HTTP 接口：下单、查询、退款、通知、账单。返回的不是 JSON 即结果未知：请查询。"
    "机器可读：/openapi.json",
    EN: "> HTTP calls of shoudan: orders, queries, refunds, notifies, bills. What is not JSON is unknown: "
    "ask. For machines: /openapi.json",
}
# Sections with their pages, in the order of the menu.
NAV: Final[tuple[tuple[str, str, tuple[str, ...]], ...]] = (
    ("接入", "Begin", ("index", "signing", "notify", "retries", "sandbox")),
    ("接口", "Calls", ("api", *(f"protocols/{one.name}" for one in partner_protocols.PAGES))),
    ("参考", "Reference", ("errors", "states", "limits", "versions", "faq")),
    ("详细说明", "In detail", tuple(f"guides/{one}" for one in GUIDES)),
)
STATES: Final[dict[str, dict[str, str]]] = {
    ZH: tomllib.loads((SITE / "states.toml").read_text("utf-8")),
    EN: {},
}
MACHINES: Final = {"order": states.ORDER, "refund": states.REFUND, "notify": states.NOTIFY}
PICTURES: Final = {
    ZH: {"order": "订单状态图", "refund": "退款状态图", "notify": "通知状态图"},
    EN: {"order": "States of an order", "refund": "States of a refund", "notify": "States of a notify"},
}  # fmt: skip


# ---------------------------------------------------------------- sources
def sources(language: str) -> dict[str, str]:
    """Every page of a language as Markdown, by its path."""
    pages = {
        str(path.relative_to(SITE / language)): filled(path.read_text("utf-8"), language)
        for path in sorted((SITE / language).glob("*.md"))
    }
    pages |= partner_protocols.pages(language)
    pages["errors.md"] = advice.page()
    for guide in GUIDES:
        pages[f"guides/{guide}.md"] = guide_of(guide, language)
    return {name: _titled(text, language) for name, text in pages.items()}


def _titled(text: str, language: str) -> str:
    """A page with its title in one language where it has both."""
    title, line, rest = text.partition("\n")
    zh, both, en = title.removeprefix("# ").partition(" · ")
    return f"# {zh if language == ZH or not both else en}{line}{rest}"


def filled(text: str, language: str) -> str:
    """A hand-written page with what stands between braces put in. Raises KeyError for an unknown word."""
    made: Mapping[str, Any] = {
        "signing": lambda: tabs(signing_clients.FOLDER),
        "notify": lambda: tabs(signing_clients.NOTIFY),
        "waits": lambda: "、".join(map(_span, NOTIFY_WAITS_S[:-1])),
        "attempts": lambda: str(len(NOTIFY_WAITS_S)),
        "accounts": lambda: "\n".join(accounts(language)),
        "try": lambda: partner_try.form(language),
        "changes": lambda: changes(language),
        "versions": lambda: versions_of(language),
        **{
            f"picture {name}": lambda name=name: partner_pictures.svg(
                MACHINES[name], STATES[language], PICTURES[language][name]
            )
            for name in MACHINES
        },
    }
    return re.sub(r"\{\{ ([\w ]+) \}\}", lambda found: made[found[1]](), text)


def _span(seconds: int) -> str:
    return f"{seconds} s" if seconds < 60 else f"{seconds // 60} min"


def tabs(folder: Path) -> str:
    """The clients of a folder, a tab for each language."""
    parts: list[str] = []
    for language, (_, ending) in signing_clients.CLIENTS.items():
        file = signing_clients.file_of(folder, language)
        code = "\n".join(f"    {line}".rstrip() for line in file.read_text("utf-8").splitlines())
        kind = {"cs": "csharp"}.get(ending[1:], ending[1:])
        link = f"files/{folder.name}/{file.name}"
        parts.append(
            f'=== "{language}"\n\n    [{file.name}]({link})\n\n    ```{kind}\n{code}\n    ```\n'
        )
    return "\n".join(parts)


def accounts(language: str) -> Iterator[str]:
    """The scripted accounts that partners need, as rows."""
    for tail, zh in chinese().items():
        yield f"| `…{tail}` | {zh if language == ZH else SCRIPTS[tail].about} |"


def versions_of(language: str) -> str:
    """The versions of the channels' protocol, the newest first, and what each changed."""
    zh = language == "zh"
    rows = ["| 版本 | 变更 |" if zh else "| Version | Changes |", "|---|---|"]
    first = "客户文档，已冻结" if zh else "the documents, frozen"
    for one in reversed(versions.VERSIONS):
        said = "; ".join(change.zh if zh else change.en for change in one.changes)
        rows.append(f"| `{one.name}` | {said or first} |")
    return "\n".join(rows)


def changes(language: str) -> str:
    """What changed for partners."""
    return (SITE / f"changes.{language}.md").read_text("utf-8")


def guide_of(name: str, language: str) -> str:
    """A bilingual guide in one language: of two paragraphs alike its own; what is mixed stays."""
    blocks = re.split(r"\n{2,}", (HTTP / f"{name}.md").read_text("utf-8").strip())
    kept: list[str] = []
    fenced = False
    for number, block in enumerate(blocks):
        fences = block.count("```") % 2
        plain = not (fenced or fences or re.match(r"[|#`>*-]|\d+\.", block))
        fenced ^= bool(fences)
        if plain and language == EN and _chinese(block) and _english(blocks, number + 1):
            continue
        if (
            plain
            and language == ZH
            and _english(blocks, number)
            and number
            and _chinese(blocks[number - 1])
        ):
            continue
        kept.append(block)
    text = re.sub(r"\]\((?=[\w-]+\.md)", "](../", "\n\n".join(kept))
    text = re.sub(r"\]\(\.\./(" + "|".join(GUIDES) + r")\.md", r"](\1.md", text)
    text = re.sub(r"^(#+) (.+)$", _anchored, text, flags=re.MULTILINE)
    return (
        re.sub(r"\[([^\]]+)\]\((?:\.\./)+(?:bills|operations|divergences)\.md[^)]*\)", r"\1", text)
        + "\n"
    )


def _anchored(heading: re.Match[str]) -> str:
    """A heading with the anchor that links in the repository mean."""
    if heading[0].startswith("# "):
        return heading[0]
    anchor = re.sub(r"[^\w\- ]", "", heading[2].lower()).replace(" ", "-")
    return f"{heading[0]} {{ #{anchor} }}"


def _chinese(block: str) -> bool:
    letters = len(re.findall(r"[\u4e00-\u9fff]", block))
    return letters * 4 > len(re.findall(r"[A-Za-z]", block)) and letters > 0


def _english(blocks: list[str], number: int) -> bool:
    if number >= len(blocks) or re.match(r"[|#`>*-]|\d+\.", blocks[number]):
        return False
    return not _chinese(blocks[number])


# ---------------------------------------------------------------- building
def settings(language: str, folder: Path, out: Path) -> dict[str, Any]:
    """The settings of zensical for one language."""
    place = 1 if language == EN else 0
    return {
        "project": {
            "site_name": TITLE[language],
            "docs_dir": str(folder.relative_to(folder.parent)),
            "site_dir": str(out.relative_to(folder.parent)),
            "use_directory_urls": True,
            "nav": [{row[place]: [f"{page}.md" for page in row[2]]} for row in NAV],
            "extra_css": ["files/site.css"],
            "extra_javascript": ["files/keys.js"],
            "theme": {
                "language": language,
                "font": False,
                "features": [
                    "content.code.copy", "content.tabs.link", "navigation.footer",
                    "navigation.sections", "navigation.top", "search.highlight", "toc.follow",
                ],
                "palette": [
                    {
                        "media": f"(prefers-color-scheme: {kind})",
                        "scheme": scheme,
                        "toggle": {"icon": icon, "name": name[place]},
                    }
                    for kind, scheme, icon, name in (
                        ("light", "default", "lucide/sun", ("深色", "Dark")),
                        ("dark", "slate", "lucide/moon", ("浅色", "Light")),
                    )
                ],
            },
            "extra": {
                "generator": False,
                "alternate": [
                    {"name": "中文", "link": "/docs/", "lang": "zh"},
                    {"name": "English", "link": "/docs/en/", "lang": "en"},
                ],
            },
            "markdown_extensions": {
                "admonition": {}, "attr_list": {}, "tables": {}, "md_in_html": {},
                "toc": {"permalink": True},
                "pymdownx": {
                    "highlight": {"pygments_lang_class": True},
                    "superfences": {},
                    "tabbed": {"alternate_style": True},
                },
            },
        }
    }  # fmt: skip


def build(out: Path = OUT, zensical: str = "") -> None:
    """Write the whole site into `out`; what was there goes."""
    program = zensical or str(Path(sys.executable).parent / "zensical")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        made = home / "site"
        served = partners.load()
        outer = [one for one in served.values() if one.role not in {"internal", "test"}]
        document = openapi.document(outer, release=_release())
        for language in LANGUAGES:
            pages = sources(language)
            _written(home / language, pages)
            calls = partner_try.written(document, served, language)
            (home / language / f"files/calls.{language}.json").write_text(calls, "utf-8")
            target = made if language == ZH else made / EN
            _rendered(program, home, language)
            shutil.copytree(home / f"built-{language}", target, dirs_exist_ok=True)
            _finished(target, language, pages)
        (made / "files/postman.json").write_text(partner_postman.collection(document), "utf-8")
        (made / "files/bruno.zip").write_bytes(partner_bruno.collection(document))
        (made / "manifest.json").write_text(json.dumps(manifest(made), indent=1) + "\n", "utf-8")
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(made, out)


def _release() -> str:
    """Of the source: the image makes these pages before anything of it is installed."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return str(project["version"])


def _written(folder: Path, pages: Mapping[str, str]) -> None:
    for name, text in pages.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    for kind in (signing_clients.FOLDER, signing_clients.NOTIFY):
        shutil.copytree(kind, folder / "files" / kind.name)
    for name in ("site.css", "keys.js", "try.js"):
        shutil.copy(SITE / name, folder / "files" / name)


def _rendered(program: str, home: Path, language: str) -> None:
    """Run zensical; a link that leads nowhere is an error."""
    config = settings(language, home / language, home / f"built-{language}")
    file = home / f"{language}.toml"
    file.write_text(_toml(config), "utf-8")
    done = subprocess.run(
        [program, "build", "--strict", "-f", str(file)],
        cwd=home, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"zensical failed:\n{done.stdout}{done.stderr}")


def _toml(config: Mapping[str, Any]) -> str:
    """A table as TOML, in one inline table: JSON with other signs."""

    def shown(value: Any) -> str:
        if isinstance(value, dict):
            members = cast("dict[str, Any]", value).items()
            return "{" + ", ".join(f"{json.dumps(k)} = {shown(v)}" for k, v in members) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(shown, cast("list[Any]", value))) + "]"
        return json.dumps(value, ensure_ascii=False)

    return "".join(f"{name} = {shown(value)}\n" for name, value in config.items())


def _finished(folder: Path, language: str, pages: Mapping[str, str]) -> None:
    """Beside each page its Markdown; what no reader needs goes."""
    for one in ("404.html", "sitemap.xml", "sitemap.xml.gz", "objects.inv"):
        (folder / one).unlink(missing_ok=True)
    shutil.rmtree(folder / "assets/stylesheets/classic", ignore_errors=True)
    for name, text in pages.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
        html = _html_of(folder, name)
        up = "../" * (len(html.relative_to(folder).parts) - 1)
        link = f'<link rel="alternate" type="text/markdown" href="{up}{name}">'
        html.write_text(html.read_text("utf-8").replace("</head>", f"{link}</head>", 1), "utf-8")
    (folder / "llms.txt").write_text(llms(language, pages), "utf-8")


def _html_of(folder: Path, name: str) -> Path:
    path = folder / name.removesuffix(".md")
    return (path.parent if path.name == "index" else path) / "index.html"


def llms(language: str, pages: Mapping[str, str]) -> str:
    """llms.txt: what there is to read, for machines."""
    place = 1 if language == EN else 0
    root = "/docs/" if language == ZH else "/docs/en/"
    lines = [f"# {TITLE[language]}", ""]
    lines.append(ABOUT[language])
    for row in NAV:
        lines += ["", f"## {row[place]}", ""]
        for page in row[2]:
            title = pages[f"{page}.md"].partition("\n")[0].removeprefix("# ")
            lines.append(f"- [{title}]({root}{page}.md)")
    return "\n".join(lines) + "\n"


# ---------------------------------------------------------------- what may be served
def manifest(folder: Path) -> dict[str, Any]:
    """Each file by the path it is served at, and the hashes of the scripts that stand in pages."""
    files: dict[str, Any] = {}
    scripts: set[str] = set()
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        body = path.read_bytes()
        name = str(path.relative_to(folder))
        if path.suffix == ".html":
            scripts |= set(inline_scripts(body.decode()))
        served = name.removesuffix("index.html")
        digest = hashlib.sha256(body).hexdigest()[:32]
        entry = {"file": name, "type": TYPES[path.suffix], "etag": digest}
        if len(body) >= SQUEEZED_FROM and path.suffix not in {".png", ".zip"}:
            path.unlink()
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(body, 9, mtime=0))
            entry |= {"file": f"{name}.gz", "gzip": True}
        files[f"/docs/{served}"] = entry
    files["/llms.txt"] = files["/docs/llms.txt"]
    return {"files": files, "scripts": sorted(scripts)}


def inline_scripts(page: str) -> Iterator[str]:
    """The hashes, as a content security policy writes them, of the scripts in a page."""
    for attributes, code in re.findall(r"<script([^>]*)>(.*?)</script>", page, re.DOTALL):
        if "src=" not in attributes and "application/json" not in attributes:
            digest = hashlib.sha256(code.encode()).digest()
            yield f"sha256-{base64.b64encode(digest).decode()}"


if __name__ == "__main__":
    given = sys.argv[1:]
    build(Path(given[0]) if given else OUT, given[1] if len(given) > 1 else "")
