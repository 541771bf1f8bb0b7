"""The partners' pages of each protocol, made of the tables that serve it and of the tests' recordings."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple

import grpc

from shoudan_gateway import advice, partners
from shoudan_gateway.partners import chinaums, dingdang, goofish, oms, vds, wangdian
from shoudan_gateway.partners.payserver import texts
from shoudan_gateway.protocol import (
    Endpoint,
    Failure,
    GatewayError,
    Inbound,
    Malformed,
    ParameterError,
    Partner,
    Problem,
    Sink,
)
from shoudan_kit.rpc.refusal import Refused

ROOT: Final = Path(__file__).resolve().parent.parent
ZH, EN = "zh", "en"


class Page(NamedTuple):
    """A protocol's page: its file, its titles, where its errors are worded, and its guides."""

    name: str
    zh: str
    en: str
    worded: ModuleType | None = None
    guides: tuple[str, ...] = ()


PAGES: Final = (
    Page("channel", "订单与退款", "Orders and refunds", oms, ("cards", "products", "segments")),
    Page("self_service", "渠道自助", "Your own business", oms, ("self-service",)),
    Page("bills", "账单", "Bills", oms, ("bills",)),
    Page("bill_files", "账单下载", "Files of bills", oms),
    Page("goofish", "虚拟货源", "虚拟货源 interface", goofish, ("goofish",)),
    Page("payserver", "支付网关", "PayServer", texts),
    Page("chinaums", "银联商务", "ChinaUMS", chinaums, ("chinaums",)),
    Page("dingdang", "叮当", "Dingdang", dingdang, ("dingdang",)),
    Page("wangdian", "旺店通推送", "ERP pushes", wangdian),
    Page("vds", "上游通知", "Suppliers' notifies", vds),
    Page("supplier_bills", "上游账单", "Suppliers' bills", vds),
    Page("supplier_disputes", "上游争议", "Suppliers' disputes", vds),
)
# In the order: 说明 of each language.
WORDS: Final[dict[str, dict[str, str]]] = {
    ZH: {
        "calls": "接口", "params": "参数", "name": "名称", "required": "必填", "type": "类型",
        "about": "说明", "yes": "是", "no": "否", "request": "请求示例", "answer": "返回示例",
        "errors": "错误", "code": "错误码", "advice": "处理方式", "status": "HTTP", "body": "返回内容",
        "methods": "方法", "more": "详细说明", "writes": "写操作：按编号幂等，可重复提交。",
        "asks": "只查询，可随时重复。", "none": "无参数。", "meaning": "含义", "path": "路径",
        "generated": "由网关的接口定义与测试记录生成。", "also": "也接受",
    },
    EN: {
        "calls": "Calls", "params": "Parameters", "name": "name", "required": "required", "type": "type",
        "about": "meaning", "yes": "yes", "no": "no", "request": "Request", "answer": "Answer",
        "errors": "Errors", "code": "code", "advice": "advice", "status": "HTTP", "body": "body",
        "methods": "methods", "more": "In detail", "writes": "Changes something: repeat it safely with the "
        "same number.", "asks": "Only asks: repeat it at any time.", "none": "No parameters.",
        "meaning": "meaning", "path": "path",
        "generated": "Made of the gateway's own tables and of recordings of the tests.", "also": "also",
    },
}  # fmt: skip
EVERYWHERE: Final = {GatewayError.BUSY, GatewayError.NO_ANSWER, GatewayError.BROKEN}
CJK: Final = re.compile(r"[\u4e00-\u9fff]")


@cache
def translations() -> dict[str, dict[str, str]]:
    """The texts in the language they are not declared in."""
    return tomllib.loads((ROOT / "docs/site/words.toml").read_text("utf-8"))


def said(text: str, language: str) -> str:
    """A declared text in a language. Raises KeyError where it has none."""
    known = translations()[language]
    if text in known:
        return known[text]
    if bool(CJK.search(text)) == (language == ZH) or not re.search(r"[A-Za-z\u4e00-\u9fff]", text):
        return text
    raise KeyError(f"{language}: {text}")


@cache
def recordings() -> dict[str, list[dict[str, Any]]]:
    """The recorded calls by partner."""
    return json.loads((ROOT / "gateway/shoudan_gateway/recordings.json").read_text("utf-8"))


def pages(language: str) -> dict[str, str]:
    """The pages of a language by their path."""
    found = partners.load()
    return {
        f"protocols/{one.name}.md": "\n".join(_page(one, found[one.name], language)) + "\n"
        for one in PAGES
    }


def _page(page: Page, partner: Partner, language: str) -> Iterator[str]:
    words = WORDS[language]
    yield f"# {page.zh if language == ZH else page.en}"
    yield f"\n{words['generated']}"
    if page.guides:
        links = ("、" if language == ZH else ", ").join(
            f"[{one}](../guides/{one}.md)" for one in page.guides
        )
        yield f"\n{words['more']}: {links}"
    yield f"\n| {words['path']} | {words['about']} |\n|---|---|"
    for endpoint in partner.endpoints:
        yield f"| [`{endpoint.path}`](#{anchor(endpoint)}) | {_cell(said(endpoint.title, language))} |"
    for endpoint in partner.endpoints:
        yield from _call(partner, endpoint, language)
    yield f"\n## {words['errors']}\n"
    yield from _errors(page, partner, language)


def anchor(endpoint: Endpoint[Any, Any] | Sink) -> str:
    """Where a call stands on its protocol's page."""
    verbs = "-".join(sorted(endpoint.methods)).lower()
    return re.sub(r"[^a-z0-9]+", "-", f"{verbs}{endpoint.path}".lower()).strip("-")


def _call(partner: Partner, endpoint: Endpoint[Any, Any] | Sink, language: str) -> Iterator[str]:
    words = WORDS[language]
    verbs = ", ".join(sorted(endpoint.methods))
    yield f"\n## {said(endpoint.title, language)} {{ #{anchor(endpoint)} }}\n"
    yield f"`{verbs}` `{endpoint.path}`"
    if isinstance(endpoint, Endpoint):
        if endpoint.aliases:
            yield f"\n{words['also']}: {', '.join(f'`{one}`' for one in endpoint.aliases)}"
        yield f"\n{words['writes' if endpoint.writes else 'asks']}\n"
        yield from _parameters(endpoint, language)
    for one in recordings().get(partner.name, []):
        if one["path"] == endpoint.path and one["method"] in endpoint.methods:
            yield from _recorded(one, language)


def _parameters(endpoint: Endpoint[Any, Any], language: str) -> Iterator[str]:
    words = WORDS[language]
    rows = [(f.wire, f.required, dict(f.read.schema), f.about) for f in endpoint.fields]
    rows += list(_members(endpoint.body or {}, "", {row[0] for row in rows}))
    if not rows:
        yield words["none"]
        return
    yield f"| {words['name']} | {words['required']} | {words['type']} | {words['about']} |"
    yield "|---|---|---|---|"
    for name, required, schema, about in rows:
        needed = words["yes" if required else "no"]
        yield f"| `{name}` | {needed} | {_type(schema)} | {_cell(said(about, language))} |"


def _members(
    schema: Mapping[str, Any], inside: str, known: set[str]
) -> Iterator[tuple[str, bool, dict[str, Any], str]]:
    """The members of a body, those inside a member with its name before theirs."""
    required = set(schema.get("required", ()))
    for name, one in schema.get("properties", {}).items():
        if name not in known:
            yield inside + name, name in required, one, one.get("description", "")
        part = one.get("items", one)
        yield from _members(part, f"{inside}{name}.", set())


def _type(schema: Mapping[str, Any]) -> str:
    kinds = schema.get("type", "")
    kind = kinds if isinstance(kinds, str) else " ".join(one for one in kinds if one != "null")
    if "enum" in schema:
        return " ".join(f"`{one}`" for one in schema["enum"] if one is not None)
    if "maxLength" in schema:
        return f"{kind} ≤{schema['maxLength']}"
    if "maximum" in schema and schema["maximum"] < 2**31:
        return f"{kind} {schema.get('minimum', 0)}–{schema['maximum']}"
    return f"{kind} {schema.get('format', '')}".strip()


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("`", "\\`")


def _recorded(one: Mapping[str, Any], language: str) -> Iterator[str]:
    words = WORDS[language]
    path = one["path"]
    for name, value in one.get("path_params", {}).items():
        path = path.replace("{" + name + "}", str(value))
    query = f"?{one['query']}" if one.get("query") else ""
    yield f"\n**{words['request']}**\n"
    yield f"```http\n{one['method']} {path}{query} HTTP/1.1"
    if one.get("body"):
        kind = (
            "application/json" if one["body"][:1] in "{[" else "application/x-www-form-urlencoded"
        )
        yield f"Content-Type: {kind}\n\n{one['body']}"
    yield "```"
    yield f"\n**{words['answer']}** · HTTP {one['status']}\n"
    if "text" in one:
        yield f"```text\n{one['text']}\n```"
    else:
        yield f"```json\n{json.dumps(one['reply'], ensure_ascii=False, indent=1)}\n```"


def _failures(page: Page) -> Iterator[Failure]:
    """Every no that a protocol has words for, with its facts by their names."""
    for error in ParameterError:
        yield Malformed("{name}", error, "{why}")
    worded = getattr(page.worded, "GATEWAY_ERRORS", {})
    for problem in [one for one in GatewayError if one in worded or one in EVERYWHERE]:
        yield Problem(problem, "{trace}")
    for reason, entry in getattr(page.worded, "REFUSALS", {}).items():
        facts = {name: f"{{{name}}}" for name in re.findall(r"\{(\w+)\}", str(entry))}
        yield Refused(grpc.StatusCode.FAILED_PRECONDITION, "", reason, facts)


def _errors(page: Page, partner: Partner, language: str) -> Iterator[str]:
    words = WORDS[language]
    head = (words[one] for one in ("code", "advice", "status", "body", "meaning"))
    yield f"| {' | '.join(head)} |"
    yield "|---|---|---|---|---|"
    seen: set[str] = set()
    inbound = Inbound("POST", partner.endpoints[0].path)
    for failure in _failures(page):
        try:
            answer = partner.refuse(failure, inbound, False)
        except KeyError:  # what callers of this protocol never meet, such as another's tokens
            continue
        facts = advice.facts_of(failure)
        known = advice.MEANINGS.get(facts.code)
        meaning = "" if known is None else getattr(known, language)
        code = facts.code
        shown = f"[`{code}`](../errors.md#{code.lower()})" if known else f"`{code}`"
        body = answer.body
        text = body.decode() if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False)
        row = (
            f"| {shown} | `{facts.advice.value}` | {answer.status} | `{_cell(text)}` | {meaning} |"
        )
        if row not in seen:
            seen.add(row)
            yield row
