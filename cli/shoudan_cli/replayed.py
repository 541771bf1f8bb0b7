"""A recording played to one build, by that build's Python: `python replayed.py RECORDING CATALOGUE RESULT`.

It is run by its path, so that a build that is older than it plays, too, and uses little of a build: a whole
system, its HTTP endpoints, its inbox of the sandbox, and tables whose names stay.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import parse_qsl

import aiohttp

from shoudan_cli.system import System
from shoudan_kit.process.polling import until

TOGETHER_MS: Final = 500  # requests closer to each other follow at once, others when all is at rest
JUMP_MS: Final = 60_000  # a longer pause passes on the clock of the system
REST_S: Final = 20.0  # what waits for longer waits for an overtime, or for good
END_S: Final = 3_600  # passes after the last request
ANSWER_S: Final = 30
_RESTLESS: Final = """
SELECT (SELECT count(*) FROM oms_order_info
        WHERE request_no LIKE $1 AND (order_status IN (10, 20) OR notify_status = 10))
    + (SELECT count(*) FROM oms_order_delivery JOIN oms_order_info USING (order_id)
        WHERE request_no LIKE $1 AND up_payment_status = 30)
    + (SELECT count(*) FROM oms_refund_info
        WHERE request_no LIKE $1 AND (refund_status = 10 OR refund_notify_status = 10)) AS count
"""
_NAMES: Final = """
SELECT order_id::text AS id, request_no AS name FROM oms_order_info
UNION ALL
SELECT delivery_id::text,
    request_no || ' part ' || rank() OVER (PARTITION BY order_id ORDER BY delivery_id)
FROM oms_order_delivery JOIN oms_order_info USING (order_id)
UNION ALL
SELECT refund_id::text, request_no || ' refund ' || down_refund_no FROM oms_refund_info
"""
_MOVED: Final = """
SELECT a.groups, a.eid, r.trade_no, count(*) AS records, sum(r.amount_micros)::bigint AS micros
FROM account_record r JOIN account_info a USING (account_id)
WHERE a.ident = 'oms' GROUP BY 1, 2, 3
"""
Facts = dict[str, Any]


def flat(value: Any, at: str = "") -> Facts:
    """Every leaf by its path."""
    if isinstance(value, dict):
        parts = [(f"{at}.{name}", one) for name, one in cast("Facts", value).items()]
    elif isinstance(value, list):
        parts = [(f"{at}[{number}]", one) for number, one in enumerate(cast("list[Any]", value))]
    else:
        return {at: value}
    found: Facts = {}
    for where, one in parts:
        found |= flat(one, where)
    return found


def said(text: str) -> Any:
    """JSON as what it says, a form as its fields, anything else as it is."""
    try:
        return json.loads(text)
    except ValueError:
        return dict(parse_qsl(text)) if "=" in text and "\n" not in text else text


class Play:
    """A recording at a running system; `prefix` keeps the numbers of several plays apart."""

    def __init__(self, system: System, http: aiohttp.ClientSession, prefix: str) -> None:
        self._system, self._http, self._prefix = system, http, prefix
        self._inbox = f"{system.sandbox_url}/inbox/replay{prefix}"
        self._ahead_s = 0

    async def of(self, requests: Sequence[Mapping[str, Any]]) -> Facts:
        """All that came of it."""
        facts: Facts = {}
        before = 0
        for number, one in enumerate(requests, 1):
            pause_ms, before = one["at_ms"] - before, one["at_ms"]
            if pause_ms > TOGETHER_MS:
                await self._rest()
            if pause_ms > JUMP_MS:
                await self._pass(pause_ms // 1000)
            facts |= await self._ask(number, one)
        await self._rest()
        await self._pass(END_S)
        await self._rest()
        facts |= await self._notifies()
        facts |= await self._postings()
        return await self._named(facts)

    async def _ask(self, number: int, one: Mapping[str, Any]) -> Facts:
        params = dict(one["params"])
        for name in ("request_no", "refund_no"):
            if name in params:
                params[name] = self._prefix + params[name]
        if "notify_url" in params:
            params["notify_url"] = self._inbox
        url, timeout = self._system.gateway_url + one["path"], aiohttp.ClientTimeout(total=ANSWER_S)
        async with self._http.request(one["method"], url, params=params, timeout=timeout) as answer:
            body = said(await answer.text())
        at = f"answer {number} {one['path']} {one['params'].get('request_no', '')}".rstrip()
        return {f"{at}: status": answer.status, **flat(body, f"{at}: body")}

    async def _notifies(self) -> Facts:
        async with self._http.get(self._inbox, params={"format": "json"}) as answer:
            letters = (await answer.json(content_type=None))["letters"]
        seen: Counter[str] = Counter()
        facts: Facts = {}
        for letter in letters:
            shown = said(letter["body"] or letter["query"])
            fields = cast("Facts", shown) if isinstance(shown, dict) else {"text": shown}
            key = f"notify {fields.get('request_no', '')} {fields.get('refund_no', '')}".rstrip()
            seen[key] += 1
            facts |= flat(fields, f"{key} {seen[key]}: ")
        return facts

    async def _postings(self) -> Facts:
        facts: Facts = {}
        for row in await self._rows("pay", _MOVED):
            key = f"posting {row['groups']} {row['eid']} {row['trade_no']}"
            facts |= {f"{key}: records": row["records"], f"{key}: micros": row["micros"]}
        return facts

    async def _named(self, facts: Facts) -> Facts:
        """Numbers that every run draws anew by what they are of; other plays' facts are left out."""
        names = {row["id"]: row["name"] for row in await self._rows("order", _NAMES)}
        mine = {number: name for number, name in names.items() if name.startswith(self._prefix)}
        number = re.compile(r"\d{12,}")

        def named(text: str) -> str:
            shown = number.sub(lambda found: mine.get(found[0], found[0]), text)
            return shown.replace(self._prefix, "") if self._prefix else shown

        return {
            named(key): named(value) if isinstance(value, str) else value
            for key, value in facts.items()
            if not key.startswith("posting ") or any(one in mine for one in number.findall(key))
        }

    async def _rest(self) -> None:
        async def at_rest() -> bool:
            return (await self._rows("order", _RESTLESS, f"{self._prefix}%"))[0]["count"] == 0

        await until(at_rest, REST_S, every_s=0.1)

    async def _pass(self, seconds: int) -> None:
        try:
            from shoudan_cli.clock import to
        except ImportError:
            return  # a build without the clock of tests: what waits for an overtime waits there
        if not seconds:
            return
        self._ahead_s += seconds
        clients = self._system.clients()
        try:
            await to(clients, self._ahead_s)
        finally:
            await clients.close()

    async def _rows(self, service: str, sql: str, *args: str) -> list[Mapping[str, Any]]:
        async with self._system.postgres.admin(f"shoudan_{service}") as admin:
            db: Any = admin
            return [dict(row) for row in await db.fetch(sql, *args)]


async def played(requests: Sequence[Mapping[str, Any]], catalogue: Path | None) -> Facts:
    """What came of it in a system of its own."""
    chosen: Any = catalogue or "demo"
    async with (
        System.start(profile="test", catalogue=chosen, report=lambda _: None) as system,
        aiohttp.ClientSession() as http,
    ):
        return await Play(system, http, "").of(requests)


def differences(old: Facts, new: Facts, again: Facts) -> dict[str, tuple[Any, Any]]:
    """What the new build does otherwise, but for what the old one does otherwise when it plays again."""
    changed = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    return {key: (old.get(key), new.get(key)) for key in changed if old.get(key) == again.get(key)}


def main() -> None:
    """The script."""
    recording, catalogue, result = sys.argv[1:]
    requests = json.loads(Path(recording).read_text("utf-8"))["requests"]
    facts = asyncio.run(played(requests, Path(catalogue) if catalogue else None))
    Path(result).write_text(json.dumps(facts, ensure_ascii=False), "utf-8")


if __name__ == "__main__":
    main()
