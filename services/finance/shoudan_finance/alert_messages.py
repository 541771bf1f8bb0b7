"""What is said of a balance, and in the form of each kind of target. Pure.

Sources: developer.work.weixin.qq.com 群机器人, open.dingtalk.com and open.feishu.cn 自定义机器人.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import orjson

from shoudan_finance.alert_targets import Target
from shoudan_finance.pay_client import Spending
from shoudan_finance.store.alerts import Edge
from shoudan_kit.clock import beijing
from shoudan_kit.http.client import Answered, HttpResult
from shoudan_kit.money import micros_to_yuan
from shoudan_signing import robots, webhooks

JSON: Final = {"Content-Type": "application/json"}
CODES: Final = {"wecom": "errcode", "dingtalk": "errcode", "feishu": "code"}


@dataclass(frozen=True, slots=True)
class Message:
    """What is said: to people as text, to programs as facts. The key is the same however often it is sent."""

    key: str
    title: str
    text: str
    facts: Mapping[str, Any]

    def body(self) -> bytes:
        """The facts as JSON."""
        return orjson.dumps(dict(self.facts))


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP call."""

    url: str
    headers: Mapping[str, str]
    body: bytes


def runway(spending: Spending | None) -> str:
    """Hours with one decimal; empty when it is not known or nothing was spent."""
    tenths = None if spending is None else spending.runway_tenths
    return "" if tenths is None else f"{tenths // 10}.{tenths % 10}"


def of_edge(edge: Edge, spending: Spending | None) -> Message:
    """What is said of a crossing."""
    hours, yuan = runway(spending), micros_to_yuan
    word = "余额不足预警" if edge.low else "余额已恢复"
    whose = f"{edge.ident}/{edge.groups}/{edge.eid}"
    lines = [
        f"【{word}】{whose}",
        f"余额 {yuan(edge.balance_micros)} 元，预警线 {yuan(edge.threshold_micros)} 元",
        f"时间 {beijing(edge.edge_time)}",
    ]
    if edge.low and hours:
        lines.insert(2, f"按近 24 小时支出，约可用 {hours} 小时")
    facts = {
        "event": "balance_low" if edge.low else "balance_recovered",
        "channel_no": edge.eid,
        "account": edge.groups,
        "balance": yuan(edge.balance_micros),
        "threshold": yuan(edge.threshold_micros),
        "runway_hours": hours,
        "time": beijing(edge.edge_time),
    }
    return Message(edge.key, f"{word} {whose}", "\n".join(lines), facts)


def of_test(target: str, key: str) -> Message:
    """What is said to see whether a target is reached."""
    text = f"【测试】收单余额预警通知测试：{target}"
    return Message(key, "收单预警测试", text, {"event": "test", "target": target})


def call(target: Target, message: Message, timestamp_ms: int) -> Call:
    """The call that says it to a target that is reached by HTTP."""
    if target.kind == "webhook":
        body = message.body()
        signed = webhooks.signed([target.secret], message.key, timestamp_ms // 1000, body)
        return Call(target.url, JSON | signed, body)
    if target.kind == "feishu":
        facts: dict[str, Any] = {"msg_type": "text", "content": {"text": message.text}}
        if target.secret:
            facts |= robots.feishu(target.secret, timestamp_ms // 1000)
        return Call(target.url, JSON, orjson.dumps(facts))
    signs = target.kind == "dingtalk" and target.secret
    url = robots.dingtalk(target.url, target.secret, timestamp_ms) if signs else target.url
    return Call(url, JSON, orjson.dumps({"msgtype": "text", "text": {"content": message.text}}))


def refusal(target: Target, outcome: HttpResult) -> str:
    """Why an answer does not acknowledge it; empty when it does."""
    if not isinstance(outcome, Answered):
        return outcome.reason
    if target.kind == "webhook":
        return "" if 200 <= outcome.status < 300 else f"HTTP {outcome.status}"
    if outcome.status != 200:
        return f"HTTP {outcome.status}"
    try:
        read: object = orjson.loads(outcome.body)
    except orjson.JSONDecodeError:
        return "no JSON"
    name = CODES[target.kind]
    facts = cast("dict[str, object]", read) if isinstance(read, dict) else {}
    code = facts.get(name, facts.get("StatusCode"))
    if type(code) is not int:
        return f"no {name}"
    return f"{name} {code}" if code else ""
