"""The table of proposals as one revision of each service makes it; frozen, as revisions are."""

from __future__ import annotations

from shoudan_kit.db.revising import BIG, BYTES, DATE, SMALL, TEXT, TIME, check, column, index, table


def create_tables() -> None:
    """Calls that wait for a second operator."""
    table(
        "proposal",
        column("proposal_id", BIG, "提案编号"),
        column("method", TEXT, "<package>.<Service>/<Method> that is called when approved"),
        column("request_json", TEXT, "the same for people, whole"),
        column("subject", TEXT, "what the call is about"),
        column("dry_run", TEXT, "JSON [[what, before, after], …]: what the call would change"),
        column("reason", TEXT, "原因: why"),
        column("evidence", TEXT, "依据: what shows that it is right"),
        column("proposal_key", TEXT, "the maker's key for repeats"),
        column("maker_id", TEXT, "提案人: number of the operator"),
        column("maker_name", TEXT, "name of the operator at the time"),
        column(
            "decider_id", TEXT, "审批人: who approved, refused or withdrew it; empty while open"
        ),
        column("decider_name", TEXT, "name of that operator at the time"),
        column("decide_reason", TEXT, "why"),
        column("result", TEXT, "JSON as dry_run: what the call changed; empty unless applied"),
        column("refusal", TEXT, "why the call was refused; empty unless failed"),
        column("request", BYTES, "the request, protobuf"),
        column("amount_micros", BIG, "money it is about, micro-yuan; NULL when unknown", null=True),
        column("status", SMALL, "states.ProposalState"),
        column("create_time", TIME, "创建时间"),
        column("expire_time", TIME, "过期时间: not approvable from now on"),
        column("end_time", TIME, "结束时间", null=True),
        check("proposal_status", "status IN (1, 2, 3, 4, 5, 6, 7)"),
        key=["proposal_id"],
        comment="提案: calls that wait for a second operator",
    )
    index("proposal_key", "proposal", ["maker_id", "proposal_key"], unique=True)
    index("proposal_open", "proposal", ["proposal_id"], where="status IN (1, 2)")
    index("proposal_expiring", "proposal", ["expire_time"], where="status = 1")


def create_alone_call() -> None:
    """What one operator moved alone, of a later revision."""
    table(
        "alone_call",
        column("operator_id", TEXT, "操作员: number of the operator"),
        column("day", DATE, "日期: of Beijing"),
        column("call_digest", BYTES, "SHA-256 of the call"),
        column("amount_micros", BIG, "金额: money it is about, micro-yuan"),
        check("alone_call_amount", "amount_micros > 0"),
        key=["operator_id", "day", "call_digest"],
        comment="独自操作: calls that one operator made alone, as far as they add up today",
    )


def create_alone_price() -> None:
    """What one operator changed of prices alone, of a later revision."""
    table(
        "alone_price",
        column("operator_id", TEXT, "操作员: number of the operator"),
        column("day", DATE, "日期: of Beijing"),
        column("call_digest", BYTES, "SHA-256 of the call"),
        column("change_ppm", BIG, "变动: largest change of a price in it, millionths"),
        check("alone_price_change", "change_ppm > 0"),
        key=["operator_id", "day", "call_digest"],
        comment="独自改价: price changes that one operator made alone, as far as they add up today",
    )
