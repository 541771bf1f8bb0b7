"""The tables of proposals and of what one operator did alone, for methods that need two persons."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Date,
    Index,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    text,
)

from shoudan_kit.db.columns import column, maybe, moment, one_of
from shoudan_kit.db.foundation import rights
from shoudan_kit.db.moves import lifecycles
from shoudan_kit.proposals.states import PROPOSAL, ProposalEvent, ProposalState

# What is written when a proposal ends; everything else of it stays as its maker wrote it.
ENDING: Final = (
    "status",
    "decider_id",
    "decider_name",
    "decide_reason",
    "end_time",
    "result",
    "refusal",
)
OPEN: Final = PROPOSAL.where(ProposalEvent.EXPIRED)
LIVE: Final = PROPOSAL.where(ProposalEvent.APPLIED)  # open, or its call is being made


def add_proposal(made: MetaData) -> Table:
    """Add the table to a service's MetaData."""
    return Table(
        "proposal",
        made,
        column("proposal_id", BigInteger, "提案编号", key=True),
        column("method", Text, "<package>.<Service>/<Method> that is called when approved"),
        column("request", LargeBinary, "the request, protobuf"),
        column("request_json", Text, "the same for people, whole"),
        column("subject", Text, "what the call is about"),
        maybe("amount_micros", BigInteger, "money it is about, micro-yuan; NULL when unknown"),
        column("dry_run", Text, "JSON [[what, before, after], …]: what the call would change"),
        column("reason", Text, "原因: why"),
        column("evidence", Text, "依据: what shows that it is right"),
        column("proposal_key", Text, "the maker's key for repeats"),
        column("maker_id", Text, "提案人: number of the operator"),
        column("maker_name", Text, "name of the operator at the time"),
        column("status", SmallInteger, "states.ProposalState"),
        moment("create_time", "创建时间"),
        moment("expire_time", "过期时间: not approvable from now on"),
        column(
            "decider_id", Text, "审批人: who approved, refused or withdrew it; empty while open"
        ),
        column("decider_name", Text, "name of that operator at the time"),
        column("decide_reason", Text, "why"),
        moment("end_time", "结束时间", null=True),
        column("result", Text, "JSON as dry_run: what the call changed; empty unless applied"),
        column("refusal", Text, "why the call was refused; empty unless failed"),
        one_of("status", ProposalState),
        Index("proposal_key", "maker_id", "proposal_key", unique=True),
        Index("proposal_open", "proposal_id", postgresql_where=text(LIVE)),
        Index("proposal_expiring", "expire_time", postgresql_where=text(OPEN)),
        comment="提案: calls that wait for a second operator",
        info=rights(update=ENDING) | lifecycles(status=PROPOSAL.moves),
    )


def add_alone_price(made: MetaData) -> Table:
    """Add the table of what operators change of prices alone to a service's MetaData."""
    return Table(
        "alone_price",
        made,
        column("operator_id", Text, "操作员: number of the operator", key=True),
        column("day", Date, "日期: of Beijing", key=True),
        column("call_digest", LargeBinary, "SHA-256 of the call", key=True),
        column("change_ppm", BigInteger, "变动: largest change of a price in it, millionths"),
        CheckConstraint("change_ppm > 0", name="change"),
        comment="独自改价: price changes that one operator made alone, as far as they add up today",
        info=rights(delete=True),
    )


def add_alone_call(made: MetaData) -> Table:
    """Add the table of what operators move alone to a service's MetaData."""
    return Table(
        "alone_call",
        made,
        column("operator_id", Text, "操作员: number of the operator", key=True),
        column("day", Date, "日期: of Beijing", key=True),
        column("call_digest", LargeBinary, "SHA-256 of the call", key=True),
        column("amount_micros", BigInteger, "金额: money it is about, micro-yuan"),
        CheckConstraint("amount_micros > 0", name="amount"),
        comment="独自操作: calls that one operator made alone, as far as they add up today",
        info=rights(delete=True),
    )
