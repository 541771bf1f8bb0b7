"""RiskService: the rules that bound new orders, and the list of accounts."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from shoudan.order.v1 import risk_service_pb2 as pb
from shoudan.order.v1 import risk_service_pb2_grpc as grpc_pb
from shoudan_kit.ids import id_of
from shoudan_kit.money import MICROS_MAX
from shoudan_kit.rpc.messages import RpcContext
from shoudan_order.context import Context
from shoudan_order.refusals import FieldInvalid
from shoudan_order.risk import admin
from shoudan_order.rpc.messages import KEY_CHARS_MAX, filled, text_problem
from shoudan_order.store.risk import Entry, Rule

PAGE_DEFAULT = 100
PAGE_MAX = 1_000
NAME_CHARS_MAX = 32
WORDS_MAX = 256
COUNT_MAX = 2**31 - 1


class RiskServicer(grpc_pb.RiskServiceServicer):
    """The calls of RiskService."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def ListRules(
        self, request: pb.ListRulesRequest, context: RpcContext
    ) -> pb.ListRulesResponse:
        """All of them."""
        found = await admin.rules(self._context)
        return pb.ListRulesResponse(rules=[_rule_message(one) for one in found])

    async def SetRule(self, request: pb.SetRuleRequest, context: RpcContext) -> pb.SetRuleResponse:
        """Exactly so."""
        _texts(("by", request.by, 1, KEY_CHARS_MAX), ("reason", request.reason, 1, WORDS_MAX))
        rule = _rule(request.rule)
        await admin.set_rule(self._context, rule, request.by, request.reason)
        return pb.SetRuleResponse()

    async def RemoveRule(
        self, request: pb.RemoveRuleRequest, context: RpcContext
    ) -> pb.RemoveRuleResponse:
        """With its counters."""
        _texts(
            ("rule_id", request.rule_id, 1, NAME_CHARS_MAX),
            ("by", request.by, 1, KEY_CHARS_MAX),
            ("reason", request.reason, 1, WORDS_MAX),
        )
        await admin.remove_rule(self._context, request.rule_id, request.by, request.reason)
        return pb.RemoveRuleResponse()

    async def ListEntries(
        self, request: pb.ListEntriesRequest, context: RpcContext
    ) -> pb.ListEntriesResponse:
        """Oldest first."""
        after = id_of(request.page_token or "0")
        if after is None:
            raise FieldInvalid("page_token", "not given by the page before")
        size = min(request.page_size or PAGE_DEFAULT, PAGE_MAX)
        if size < 1:
            raise FieldInvalid("page_size", f"1 to {PAGE_MAX}")
        found = await admin.entries(self._context, after, size)
        return pb.ListEntriesResponse(
            entries=[_entry(one) for one in found],
            next_page_token=str(found[-1].entry_id) if len(found) == size else "",
        )

    async def SetEntry(
        self, request: pb.SetEntryRequest, context: RpcContext
    ) -> pb.SetEntryResponse:
        """Blocked, or exempt."""
        _texts(
            ("recharge_account", request.recharge_account, 1, KEY_CHARS_MAX),
            ("channel_no", request.channel_no, 0, NAME_CHARS_MAX),
            ("by", request.by, 1, KEY_CHARS_MAX),
            ("reason", request.reason, 1, WORDS_MAX),
        )
        ends = request.expire_time.ToDatetime(UTC) if request.HasField("expire_time") else None
        entry_id = await admin.set_entry(
            self._context,
            request.recharge_account,
            request.channel_no,
            exempt=request.exempt,
            expire_time=ends,
            by=request.by,
            reason=request.reason,
        )
        return pb.SetEntryResponse(entry_id=entry_id)

    async def RemoveEntry(
        self, request: pb.RemoveEntryRequest, context: RpcContext
    ) -> pb.RemoveEntryResponse:
        """Off the list."""
        _texts(("by", request.by, 1, KEY_CHARS_MAX), ("reason", request.reason, 1, WORDS_MAX))
        await admin.remove_entry(self._context, request.entry_id, request.by, request.reason)
        return pb.RemoveEntryResponse()


def _texts(*texts: tuple[str, str, int, int]) -> None:
    if problem := text_problem(texts, ""):
        raise problem


def _rule(one: pb.RiskRule) -> Rule:
    _texts(
        ("rule_id", one.rule_id, 1, NAME_CHARS_MAX),
        ("channel_no", one.channel_no, 0, NAME_CHARS_MAX),
    )
    for name, value, most in (
        ("count_max", one.count_max, COUNT_MAX),
        ("amount_max", one.amount_max_micros, MICROS_MAX),
        ("line_id", one.line_id, 2**63 - 1),
    ):
        if not 0 <= value <= most:
            raise FieldInvalid(name, f"0 to {most}")
    return Rule(
        one.rule_id,
        pb.RiskRule.Per.Name(one.per).removeprefix("PER_").lower() if one.per else "",
        pb.RiskRule.Within.Name(one.within).removeprefix("WITHIN_").lower() if one.within else "",
        one.minutes,
        one.count_max,
        one.amount_max_micros,
        one.channel_no,
        one.line_id,
        one.shadow,
        one.confirmable,
        one.enabled,
    )


def _rule_message(rule: Rule) -> pb.RiskRule:
    return filled(
        pb.RiskRule,
        rule,
        per=pb.RiskRule.Per.Value(f"PER_{rule.per.upper()}"),
        within=pb.RiskRule.Within.Value(f"WITHIN_{rule.within.upper()}"),
    )


def _entry(one: Entry) -> pb.RiskEntry:
    made: dict[str, Any] = {} if one.expire_time is None else {"expire_time": one.expire_time}
    return pb.RiskEntry(
        entry_id=one.entry_id,
        exempt=one.exempt,
        channel_no=one.channel_no,
        account_tail=one.account_tail,
        reason=one.reason,
        made_by=one.made_by,
        **made,
    )
