"""Risk rules, their counters, and the list of blocked and exempt accounts."""

from shoudan_kit.db.revising import (
    BIG,
    BOOL,
    BYTES,
    INT,
    TEXT,
    TIME,
    check,
    column,
    index,
    table,
    unique,
)

revision: str = "0023"
down_revision: str | None = "0022"

NOW = "shoudan_now()"
EMPTY = "''"


def upgrade() -> None:
    """Forward."""
    table(
        "oms_risk_rule",
        column("rule_id", TEXT, "规则名称"),
        column("per", TEXT, "what it counts by: channel, product, account, account_face"),
        column("within", TEXT, "day or month of Beijing, or since_last order"),
        column("minutes", INT, "minutes after the last order, of since_last", default="0"),
        column("count_max", INT, "most orders; 0 for no bound", default="0"),
        column("amount_max_micros", BIG, "most sale amount; 0 for no bound", default="0"),
        column("channel_no", TEXT, "渠道编号; empty for all", default=EMPTY),
        column("line_id", BIG, "产品线编号; 0 for all"),
        column("shadow", BOOL, "only counted, nothing refused"),
        column("confirmable", BOOL, "an order that confirms it passes"),
        column("enabled", BOOL, "in force"),
        column("create_time", TIME, "创建时间", default=NOW),
        key=["rule_id"],
        comment="风控规则",
    )
    table(
        "oms_risk_counter",
        column("rule_id", TEXT, "规则名称"),
        column("subject", BYTES, "keyed digest of what is counted"),
        column("period", TEXT, "day, month, or - for the last order"),
        column("order_count", INT, "orders taken", default="0"),
        column("amount_micros", BIG, "sale amount of the orders taken", default="0"),
        column("last_time", TIME, "when the last one was taken", null=True),
        key=["rule_id", "subject", "period"],
        comment="风控计数",
    )
    index("oms_risk_counter_last", "oms_risk_counter", ["last_time"])
    table(
        "oms_risk_entry",
        column("entry_id", BIG, "编号"),
        column("exempt", BOOL, "exempt from the rules rather than blocked"),
        column("subject", BYTES, "keyed digest of the account"),
        column("channel_no", TEXT, "渠道编号; empty for all", default=EMPTY),
        column("account_tail", TEXT, "last characters of the account, for people", default=EMPTY),
        column("reason", TEXT, "why"),
        column("made_by", TEXT, "操作人"),
        column("expire_time", TIME, "when it ends; empty for never", null=True),
        column("create_time", TIME, "创建时间", default=NOW),
        unique("oms_risk_entry_same", "subject", "channel_no", "exempt"),
        key=["entry_id"],
        comment="黑白名单",
    )
    table(
        "oms_risk_version",
        column("one", BOOL, "always true: there is one row"),
        column("version", BIG, "raised by every change"),
        check("oms_risk_version_one", "one"),
        key=["one"],
        comment="风控版本",
    )
