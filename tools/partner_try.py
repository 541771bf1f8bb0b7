"""The page on which partners try calls: its form, and the calls that docs/site/try.js offers in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

from shoudan_gateway.protocol import Endpoint, Partner
from tools import partner_calls
from tools.partner_protocols import PAGES, anchor, said

FIRST: Final = "order_request_get"  # the call that is shown where none is named
WORDS: Final[dict[str, dict[str, str]]] = {
    "zh": {
        "call": "接口", "params": "参数", "none": "无参数。", "body": "报文", "send": "发送",
        "secret": "渠道密钥（不填则不签名）", "token": "令牌（Authorization: Bearer）",
        "unsigned": "此接口不由渠道密钥签名：本页照填写的内容发送。", "required": "必填",
        "sure": "我确认：此调用会改变下面系统的数据", "answer": "返回", "sent": "已发送",
        "text": "待签名文本", "headers": "返回头", "page": "参数、返回与错误说明",
        "unknown": "没有收到返回：结果未知，请以相同编号查询或重试。",
        "noscript": "试调需要脚本。没有脚本时请用 curl，见各接口页的示例。",
    },
    "en": {
        "call": "Call", "params": "Parameters", "none": "No parameters.", "body": "Body", "send": "Send",
        "secret": "The channel's secret (unsigned without it)", "token": "Token (Authorization: Bearer)",
        "unsigned": "This call is not signed by a channel's secret: it is sent as it is filled in.",
        "required": "required", "sure": "I am sure: this call changes what this system has",
        "answer": "Answer", "sent": "Sent", "text": "The text that was signed",
        "headers": "Headers", "page": "parameters, answers and errors",
        "unknown": "No answer came: what happened is unknown. Query, or repeat with the same number.",
        "noscript": "Calls are tried with a script. Without one take curl, as the examples of each page do.",
    },
}  # fmt: skip
DATA: Final = ("secret", "token", "required", "page", "unknown")  # what the script says


def form(language: str) -> str:
    """The form as HTML; the script fills in the calls and their fields."""
    words = {name: escape(text) for name, text in WORDS[language].items()}
    data = " ".join(f'data-{name}="{words[name]}"' for name in DATA)
    calls = f"../files/calls.{language}.json"  # from the page as it is served
    folded = "\n".join(
        f'<details id="try-{name}-row"><summary>{words[name]}</summary>{_text(name, words[name])}</details>'
        for name in ("headers", "sent", "text")
    )
    return f"""<noscript><p>{words["noscript"]}</p></noscript>
<div id="try" data-calls="{calls}" data-first="{FIRST}" {data}>
<form id="try-form" hidden>
<p><label for="try-call">{words["call"]}</label><select id="try-call"></select></p>
<p id="try-about"></p>
<p id="try-secret-row"><label id="try-secret-label" for="try-secret">{words["secret"]}</label>
<input id="try-secret" type="password" autocomplete="off"></p>
<p id="try-unsigned">{words["unsigned"]}</p>
<fieldset><legend>{words["params"]}</legend>
<p id="try-none">{words["none"]}</p><div id="try-rows"></div></fieldset>
<p id="try-body-row"><label for="try-body">{words["body"]}</label>
<textarea id="try-body" rows="12" spellcheck="false"></textarea></p>
<p id="try-sure-row"><input id="try-sure" type="checkbox">
<label for="try-sure">{words["sure"]} (<code class="try-host"></code>)</label></p>
<p><button id="try-send" type="submit" class="md-button md-button--primary">{words["send"]}</button></p>
</form>
<section id="try-answer" aria-label="{words["answer"]}" hidden>
<p id="try-status" tabindex="-1" role="status"></p>
{_text("reply", words["answer"])}
{folded}
</section>
</div>
<script src="files/try.js"></script>"""


def _text(name: str, label: str) -> str:
    """A place for a text, which keys reach where it is longer than its place."""
    return f'<pre id="try-{name}" tabindex="0" role="region" aria-label="{label}"></pre>'


def calls(
    document: Mapping[str, Any], partners: Mapping[str, Partner], language: str
) -> Iterator[dict[str, Any]]:
    """Each call with its fields in a language, in the order of the pages; lists of `files/calls.*.json`."""
    found = partner_calls.folders(document)
    for page in PAGES:
        known = {one.path: one for one in partners[page.name].endpoints}
        for call in found[page.name]:
            endpoint = known[call.path]
            operation = document["paths"][call.path][call.method.lower()]
            yield {
                "id": operation["operationId"],
                "protocol": getattr(page, language),
                "title": said(call.name, language),
                "method": call.method,
                "path": call.path,
                "page": f"../protocols/{page.name}/#{anchor(endpoint)}",
                "signed": call.signed,
                "bearer": call.bearer,
                "writes": isinstance(endpoint, Endpoint) and endpoint.writes,
                "rows": [_row(one, language) for one in operation.get("parameters", ())],
                "body": call.body,
            }


def _row(row: Mapping[str, Any], language: str) -> dict[str, Any]:
    schema = row["schema"]
    made: dict[str, Any] = {
        "name": row["name"],
        "place": row["in"],
        "required": bool(row.get("required")),
        "about": said(row.get("description", ""), language),
        "example": str(row.get("example", "")),
    }
    if "enum" in schema:
        made["values"] = [str(one) for one in schema["enum"] if one is not None]
    return made


def written(document: Mapping[str, Any], partners: Mapping[str, Partner], language: str) -> str:
    """The file of a language."""
    return json.dumps(list(calls(document, partners, language)), ensure_ascii=False) + "\n"
