"""The tables of risk rules, their counters, and the list of blocked and exempt accounts."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Boolean, Column, Index, LargeBinary, MetaData, Table, UniqueConstraint

from shoudan_kit.db.foundation import rights
from shoudan_order.tables.columns import (
    count,
    fact,
    holds,
    key,
    micros,
    now,
    number,
    text_key,
    when,
    words,
)

_RULE: Final = (
    "per", "within", "minutes", "count_max", "amount_max_micros", "channel_no", "line_id", "shadow",
    "confirmable", "enabled",
)  # fmt: skip


def declare(made: MetaData) -> None:
    """Add the tables of risk to `made`."""
    Table(
        "oms_risk_rule",
        made,
        text_key("rule_id", "规则名称"),
        words("per", "what it counts by: channel, product, account, account_face", None),
        words("within", "day or month of Beijing, or since_last order", None),
        count("minutes", "minutes after the last order, of since_last", 0),
        count("count_max", "most orders; 0 for no bound", 0),
        micros("amount_max_micros", "most sale amount; 0 for no bound"),
        words("channel_no", "渠道编号; empty for all"),
        number("line_id", "产品线编号; 0 for all"),
        fact("shadow", "only counted, nothing refused", given=True),
        fact("confirmable", "an order that confirms it passes", given=True),
        fact("enabled", "in force", given=True),
        now("create_time", "创建时间"),
        comment="风控规则",
        info=rights(update=_RULE, delete=True),
    )
    _declare_counters(made)
    Table(
        "oms_risk_entry",
        made,
        key("entry_id", "编号"),
        fact("exempt", "exempt from the rules rather than blocked", given=True),
        Column("subject", LargeBinary, nullable=False, comment="keyed digest of the account"),
        words("channel_no", "渠道编号; empty for all"),
        words("account_tail", "last characters of the account, for people"),
        words("reason", "why", None),
        words("made_by", "操作人", None),
        when("expire_time", "when it ends; empty for never", null=True),
        now("create_time", "创建时间"),
        UniqueConstraint("subject", "channel_no", "exempt", name="oms_risk_entry_same"),
        comment="黑白名单",
        info=rights(update=("reason", "made_by", "expire_time"), delete=True),
    )
    Table(
        "oms_risk_version",
        made,
        Column("one", Boolean, primary_key=True, comment="always true: there is one row"),
        number("version", "raised by every change"),
        holds("one", "one"),
        comment="风控版本",
        info=rights(update=("version",)),
    )


def _declare_counters(made: MetaData) -> None:
    Table(
        "oms_risk_counter",
        made,
        text_key("rule_id", "规则名称"),
        Column("subject", LargeBinary, primary_key=True, comment="keyed digest of what is counted"),
        text_key("period", "day, month, or - for the last order"),
        count("order_count", "orders taken", 0),
        micros("amount_micros", "sale amount of the orders taken"),
        when("last_time", "when the last one was taken", null=True),
        when("before_time", "when the last one before that batch was taken", null=True),
        Index("oms_risk_counter_last", "last_time"),
        comment="风控计数",
        info=rights(
            update=("order_count", "amount_micros", "last_time", "before_time"), delete=True
        ),
    )
