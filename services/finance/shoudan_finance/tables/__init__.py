"""The tables of the finance service: facts, copied from the services that own them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Date,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    text,
)

from shoudan_finance.states import (
    DAY,
    ENTRY,
    EXCEPTION,
    RUN,
    STATEMENT,
    TRADE_DAY,
    Book,
    DayStatus,
    EntryEvent,
    EntryKind,
    EntryStatus,
    ExceptionEvent,
    ExceptionKind,
    ExceptionStatus,
    MatchRule,
    Outcome,
    RunStatus,
    StatementStatus,
    TradeDayStatus,
)
from shoudan_kit.db.columns import column, literals, maybe, moment, one_of
from shoudan_kit.db.foundation import GROWING, by_month, rights
from shoudan_kit.db.moves import lifecycles
from shoudan_kit.proposals.tables import add_alone_call, add_proposal
from shoudan_kit.tasks.tables import metadata

METADATA: Final = metadata()
add_proposal(METADATA)
add_alone_call(METADATA)
# Granted SELECT and INSERT only: a fact does not change.
_FACTS: Final = ("account_fact", "movement", "trade", "trade_money", "pay_trade")
APPEND_ONLY: Final = (*_FACTS, "bill_day", "dispute_exception", "period_reopening")

OPEN: Final = literals(sorted(DAY.states - DAY.final))
TRADES_OPEN: Final = literals(sorted(TRADE_DAY.states - TRADE_DAY.final))
DOWN, UP = "1, 2", "3, 4"  # kinds of trade: with a down channel, and with a supplier

# Days of the ledger that are here whole and proved: what pay may take out of its own database.
COPIED: Final = f"SELECT day FROM finance_day WHERE status = {DayStatus.COMPLETE:d} ORDER BY day"

FINANCE_DAY: Final = Table(
    "finance_day",
    METADATA,
    column("day", Date, "记账日, Asia/Shanghai", key=True),
    column("status", SmallInteger, "states.DayStatus"),
    column("accounts", BigInteger, "accounts that moved, as the ledger closed the day"),
    column("movements", BigInteger, "movements they made, as the ledger closed the day"),
    column("debits_micros", BigInteger, "支出合计, 10^-6 元, without a sign"),
    column("credits_micros", BigInteger, "收入合计, 10^-6 元"),
    moment("close_time", "日结时间: when the ledger closed it"),
    moment("create_time", "创建时间"),
    moment("prove_time", "proved last", null=True),
    column("digest", LargeBinary, "SHA-256 over the ends of its accounts' chains; empty before"),
    column("what", String(256), "what differs first; empty unless it differs"),
    one_of("status", DayStatus),
    CheckConstraint(
        "(status = 20) = (digest <> '') AND (status = 80) = (what <> '')", name="proof"
    ),
    Index("finance_day_open", "day", postgresql_where=text(f"status IN ({OPEN})")),
    comment="记账日: closed days of the ledger, and whether their movements are here",
    info=rights(update=("status", "prove_time", "digest", "what")) | lifecycles(status=DAY.moves),
)

ACCOUNT_FACT: Final = Table(
    "account_fact",
    METADATA,
    column("day", Date, "记账日, Asia/Shanghai", key=True),
    column("account_id", BigInteger, "账户编号", key=True),
    column("ident", String(32), "系统标识"),
    column("groups", String(32), "账户分组"),
    column("eid", String(64), "外部用户编号"),
    column("name", String(64), "账户名称, when the day was fetched"),
    column("seq_from", BigInteger, "seq of its first record of the day"),
    column("seq_to", BigInteger, "seq of its last record of the day"),
    column("opening_micros", BigInteger, "期初余额, 10^-6 元"),
    column("debits_micros", BigInteger, "支出合计, 10^-6 元, without a sign"),
    column("credits_micros", BigInteger, "收入合计, 10^-6 元"),
    column("closing_micros", BigInteger, "期末余额, 10^-6 元"),
    column("head_hash", LargeBinary, "hash of its last record of the day"),
    CheckConstraint("seq_from > 0 AND seq_to >= seq_from", name="range"),
    CheckConstraint("closing_micros = opening_micros - debits_micros + credits_micros", name="sum"),
    Index("account_fact_of", "ident", "eid", "day"),
    comment="账户日结 as the ledger closed it; written when all its movements of the day are here",
    postgresql_with=GROWING,
)

# Parts are months of accounting days: day_no is the first number of ids at midnight of the day, read as UTC.
MOVEMENT: Final = Table(
    "movement",
    METADATA,
    column("day_no", BigInteger, "the accounting day as a number of ids", key=True),
    column("account_id", BigInteger, "账户编号", key=True),
    column("seq", BigInteger, "position within the account, from 1 without gaps", key=True),
    column("record_id", BigInteger, "变动编号"),
    column("contra_account_id", BigInteger, "platform account that moved by the opposite amount"),
    column("trade_no", String(64), "交易编号"),
    column("ext_no", String(64), "扩展编号: what a refund or reversal quotes"),
    column(
        "change_type", SmallInteger, "变动类型: 1 加款 2 提款 3 扣款 4 退款 5 交易平账 6 余额平账"
    ),
    column("trade_type", SmallInteger, "交易类型: 1 交易 2 手续费/服务费 3 佣金 4 红冲 5 平账"),
    column("about", SmallInteger, "业务类型: 0 not said 1 订单 2 退款 3 发货 4 退货 5 支付 6 人工"),
    column("amount_micros", BigInteger, "变动金额, signed, 10^-6 元"),
    column("balance_micros", BigInteger, "变动后余额, 10^-6 元"),
    column("memo", String(1024), "备注"),
    column("source", String(32), "来源: the service that posted it, or operator"),
    column("operator", String(64), "操作员"),
    moment("create_time", "变动时间"),
    column("hash", LargeBinary, "seal of the record over the one before"),
    CheckConstraint("seq > 0", name="seq"),
    comment="资金变动: the records of closed days, as the ledger has them",
    **by_month("day_no"),
)

TRADE_DAYS: Final = Table(
    "trade_day",
    METADATA,
    column("day", Date, "业务日 in Beijing, on which its trades ended", key=True),
    column("status", SmallInteger, "states.TradeDayStatus"),
    column("trades", BigInteger, "trades that are here"),
    column("page_token", String(256), "where the order service goes on; empty at both ends"),
    column("apart", BigInteger, "trades whose money is not what they say, when it was proved last"),
    column("what", String(256), "which of them is first; empty when all agree"),
    moment("create_time", "创建时间"),
    moment("fetch_time", "when the last trade was fetched", null=True),
    moment("prove_time", "held to the ledger last", null=True),
    moment("list_time", "when the accounting day's movements were listed by number", null=True),
    maybe("pays", BigInteger, "PayServer's results of the day that are here; null before all are"),
    one_of("status", TradeDayStatus),
    CheckConstraint("(apart = 0) = (what = '')", name="apart"),
    Index("trade_day_open", "day", postgresql_where=text(f"status IN ({TRADES_OPEN})")),
    Index("trade_day_unlisted", "day", postgresql_where=text("list_time IS NULL")),
    comment="业务日: whether its orders, refunds, deliveries and returns are here, and agree",
    info=rights(
        update=(
            *("status", "trades", "page_token", "apart", "what"),
            *("fetch_time", "prove_time", "list_time", "pays"),
        )
    )
    | lifecycles(status=TRADE_DAY.moves),
)

# Parts are months, as those of movement.
TRADE: Final = Table(
    "trade",
    METADATA,
    column("day_no", BigInteger, "the day as a number of ids", key=True),
    column("number", BigInteger, "订单、退款、发货、退货编号", key=True),
    column("kind", SmallInteger, "1 订单 2 退款 3 发货 4 退货"),
    column("order_id", BigInteger, "订单编号"),
    column("down_channel_no", String(64), "下游渠道编号"),
    column("up_channel_no", String(64), "上游渠道编号; empty of orders and refunds"),
    column("line_id", BigInteger, "产品线编号"),
    column("their_no", String(64), "the channel's or supplier's number of it"),
    column("product_no", String(64), "the channel's or supplier's number of the product"),
    column("carrier_no", String(64), "运营商"),
    column("invoice_type", SmallInteger, "开票方式: 0 不限制 1 不开发票 2 需要发票"),
    column("face_micros", BigInteger, "面值, 10^-6 元"),
    column("num", BigInteger, "数量"),
    column(
        "supplier_no",
        String(64),
        "发货编号: the number that the supplier was sent; empty of others",
        server_default=text("''"),
    ),
    column(
        "account",
        String(64),
        "充值账号 as far as it is shown, ~, keyed digest; empty of others",
        server_default=text("''"),
    ),
    column("reason", String(256), "退款原因; empty of others", server_default=text("''")),
    column("result", SmallInteger, "0 成功 90 失败 91 部分成功"),
    column("done_face_micros", BigInteger, "成功面值, 10^-6 元"),
    column("amount_micros", BigInteger, "sale, or cost of a delivery or return, 10^-6 元"),
    column("commission_micros", BigInteger, "佣金, 10^-6 元"),
    column("service_micros", BigInteger, "服务费, 10^-6 元"),
    column("fee_micros", BigInteger, "手续费, 10^-6 元"),
    moment("end_time", "结束时间"),
    CheckConstraint("kind BETWEEN 1 AND 4", name="kind"),
    Index("trade_number", "number"),
    Index(
        "trade_down",
        *("day_no", "down_channel_no", "end_time", "number"),
        postgresql_where=text(f"kind IN ({DOWN})"),
    ),
    Index(
        "trade_up",
        *("day_no", "up_channel_no", "end_time", "number"),
        postgresql_where=text(f"kind IN ({UP})"),
    ),
    comment="交易: orders, refunds, deliveries and returns as they stood when they ended",
    **by_month("day_no"),
)

# By number what movement has by account: an index of that table would be made under the filling of days.
TRADE_MONEY: Final = Table(
    "trade_money",
    METADATA,
    column("day_no", BigInteger, "the accounting day as a number of ids", key=True),
    column("account_id", BigInteger, "账户编号", key=True),
    column("seq", BigInteger, "position within the account", key=True),
    column("trade_no", String(64), "交易编号"),
    column("about", SmallInteger, "业务类型: 1 订单 2 退款 3 发货 4 退货"),
    column("amount_micros", BigInteger, "变动金额, signed, 10^-6 元"),
    Index("trade_money_no", "trade_no"),
    comment="交易资金: movements about trades, found by the number of the trade",
    **by_month("day_no"),
)

# Parts are months, as those of trade.
PAY_TRADE: Final = Table(
    "pay_trade",
    METADATA,
    column("day_no", BigInteger, "the day as a number of ids", key=True),
    column("record_id", BigInteger, "交易记录编号: the result", key=True),
    column("kind", SmallInteger, "5 支付 6 支付退款 7 支付更正 8 退款更正"),
    column("number", BigInteger, "平台流水号 tractionNo"),
    column("pay_number", BigInteger, "tractionNo of the pay"),
    column("merchant", String(64), "商户 merchantUUID"),
    column("component", String(32), "支付组件, as sources are named; empty when none moved it"),
    column("client_no", String(64), "商户单号"),
    column("third_no", String(64), "第三方单号; empty without"),
    column("mode_name", String(64), "支付方式"),
    column("succeeded", SmallInteger, "1 成功 0 失败"),
    column("amount_micros", BigInteger, "金额, 10^-6 元"),
    column("moved_micros", BigInteger, "what moved, 10^-6 元; below zero when corrected away"),
    moment("end_time", "结束时间"),
    CheckConstraint("kind BETWEEN 5 AND 8", name="kind"),
    Index("pay_trade_merchant", "day_no", "merchant", "end_time", "number"),
    Index("pay_trade_component", "day_no", "component", "record_id"),
    comment="支付交易: PayServer's pays and refunds as they ended, and what was corrected",
    **by_month("day_no"),
)

# ---------------------------------------------------------------- reconciliation
UNMATCHED: Final = ENTRY.where(EntryEvent.MATCHED)
# The same for rows that are named by their number: no partial index is read for it.
STILL_UNMATCHED: Final = ENTRY.between(EntryEvent.MATCHED)
LIVE: Final = ENTRY.where(EntryEvent.CORRECTED)

STATEMENT_PART: Final = Table(
    "statement_part",
    METADATA,
    column("sha256", LargeBinary, "SHA-256 of the whole file", key=True),
    column("part_no", Integer, "which part, from 0", key=True),
    column("data", LargeBinary, "its bytes"),
    moment("create_time", "创建时间"),
    CheckConstraint("part_no >= 0", name="part_no"),
    Index("statement_part_old", "create_time"),
    comment="对账单文件: parts of files as they came; those of no statement are deleted after a day",
    info=rights(delete=True),
)

STATEMENT_TABLE: Final = Table(
    "statement",
    METADATA,
    column("statement_id", BigInteger, "对账单编号", key=True),
    column("template", String(32), "the template it was read with"),
    column("source", String(32), "来源: supplier, merchant or bank account"),
    column("book", SmallInteger, "states.Book"),
    column("file_name", String(128), "文件名"),
    column("sha256", LargeBinary, "SHA-256 of the file"),
    column("file_bytes", BigInteger, "bytes of the file"),
    column("entries", BigInteger, "rows that were stored"),
    column("duplicates", BigInteger, "rows that another statement of the source has, too"),
    column("skipped", BigInteger, "rows that the template skips"),
    column("credits_micros", BigInteger, "what the rows give us, 10^-6 元"),
    column("debits_micros", BigInteger, "what they take from us, without a sign"),
    maybe("first_day", Date, "first day of its rows, Beijing"),
    maybe("last_day", Date, "last day of its rows"),
    column("status", SmallInteger, "states.StatementStatus"),
    column("supersedes", BigInteger, "the statement whose place it took; 0 for none"),
    column("imported_by", String(64), "操作员"),
    moment("create_time", "创建时间"),
    moment("supersede_time", "when another one took its place", null=True),
    one_of("status", StatementStatus),
    one_of("book", Book),
    Index("statement_file", "source", "sha256", unique=True),
    Index("statement_sha256", "sha256"),
    Index("statement_of", "source", "statement_id"),
    comment="对账单: files of suppliers, payment components and banks",
    info=rights(update=("status", "supersede_time")) | lifecycles(status=STATEMENT.moves),
)

ENTRY_TABLE: Final = Table(
    "entry",
    METADATA,
    column("entry_id", BigInteger, "分录编号", key=True),
    column("source", String(32), "来源: with whom money moved"),
    column("book", SmallInteger, "states.Book"),
    column("statement_id", BigInteger, "对账单编号; 0 of our own"),
    column("row_no", BigInteger, "row of the file, from 1; 0 of our own"),
    column("kind", SmallInteger, "states.EntryKind"),
    column("our_no", String(64), "our number"),
    column("their_no", String(64), "their number"),
    column("settle_no", String(64), "the settlement it belongs to"),
    column("account", String(64), "充值账号 as far as it is shown, ~, keyed digest"),
    column("face_micros", BigInteger, "面值, 10^-6 元; 0 when not said"),
    column("amount_micros", BigInteger, "what it does to us, signed, 10^-6 元"),
    column("outcome", SmallInteger, "states.Outcome"),
    moment("happen_time", "发生时间"),
    column("day", Date, "day of happen_time in Beijing"),
    column("digest", LargeBinary, "of its content: the same row of another file has it, too"),
    column("status", SmallInteger, "states.EntryStatus"),
    column("match_id", BigInteger, "the entry that it was matched with; 0 for none"),
    column("settle_id", BigInteger, "the entry that settled it; 0 for none"),
    moment("create_time", "创建时间"),
    column("rule", SmallInteger, "states.MatchRule", server_default=text("0")),
    column(
        "trade_no",
        BigInteger,
        "发货、退货编号 of our own; 0 of theirs",
        server_default=text("0"),
    ),
    one_of("book", Book),
    one_of("kind", EntryKind),
    one_of("outcome", Outcome),
    one_of("status", EntryStatus),
    one_of("rule", MatchRule),
    Index("entry_once", "source", "book", "digest", unique=True, postgresql_where=text(LIVE)),
    Index("entry_unmatched", "source", "entry_id", postgresql_where=text(UNMATCHED)),
    Index("entry_of_statement", "statement_id", "entry_id"),
    Index(
        "entry_clear",
        "entry_id",
        postgresql_where=text(
            "account <> '' AND account NOT LIKE '%~%' AND account NOT LIKE '%*%'"
        ),
    ),
    Index("entry_settle", "source", "settle_no", "book", postgresql_where=text("settle_no <> ''")),
    comment="对账分录: what each book says of a movement, and whether the others say the same",
    info=rights(update=("status", "match_id", "settle_id", "rule", "account"))
    | lifecycles(status=ENTRY.moves),
    postgresql_with=GROWING,
)

RECONCILE_DAY: Final = Table(
    "reconcile_day",
    METADATA,
    column("source", String(32), "来源: supplier", key=True),
    column("day", Date, "业务日, of which our trades with it are entries", key=True),
    column("entries", BigInteger, "how many they are"),
    moment("create_time", "创建时间"),
    comment="对账日: days of which our side is here",
)

RECONCILE_RUN: Final = Table(
    "reconcile_run",
    METADATA,
    column("run_id", BigInteger, "对账批次编号", key=True),
    column("source", String(32), "来源: whose entries were matched"),
    column("status", SmallInteger, "states.RunStatus"),
    column("asked_by", String(64), "操作员; empty when it came by itself"),
    column("ours", BigInteger, "entries of ours that it looked at"),
    column("theirs", BigInteger, "entries of theirs"),
    column("matched", BigInteger, "对平: pairs, and failures of one side alone"),
    column("late", BigInteger, "exceptions whose counterpart came late"),
    column("longs", BigInteger, "长款: new ones"),
    column("shorts", BigInteger, "短款: new ones"),
    column("amounts", BigInteger, "金额不符: new ones"),
    column("outcomes", BigInteger, "状态不符: new ones"),
    column("settlements", BigInteger, "结算不符: new ones"),
    column("settled", BigInteger, "settlements that are the sum of their lines"),
    column("awaiting", BigInteger, "在途: entries whose counterpart is not due yet"),
    column("uncovered", BigInteger, "days with trades of ours and without a statement"),
    column("what", String(256), "why it failed; empty unless it did"),
    moment("create_time", "创建时间"),
    moment("end_time", "结束时间", null=True),
    one_of("status", RunStatus),
    Index("reconcile_run_of", "source", "run_id"),
    Index("reconcile_run_open", "source", postgresql_where=text("status = 10")),
    Index("reconcile_run_failed", "run_id", postgresql_where=text("status = 80")),
    comment="对账批次: every run of the reconciliation, and what it found",
    info=rights(
        update=(
            *("status", "ours", "theirs", "matched", "late", "longs", "shorts", "amounts"),
            *("outcomes", "settlements", "settled", "awaiting", "uncovered", "what", "end_time"),
        )
    )
    | lifecycles(status=RUN.moves),
)

UNDECIDED: Final = EXCEPTION.where(ExceptionEvent.DECIDED)
STILL_UNDECIDED: Final = EXCEPTION.between(ExceptionEvent.DECIDED)

EXCEPTION_TABLE: Final = Table(
    "exception",
    METADATA,
    column("exception_id", BigInteger, "差错编号", key=True),
    column("source", String(32), "来源: with whom"),
    column("kind", SmallInteger, "states.ExceptionKind"),
    column("status", SmallInteger, "states.ExceptionStatus"),
    column("ours_id", BigInteger, "our entry; 0 for none"),
    column("theirs_id", BigInteger, "their entry; 0 for none"),
    column("diff_micros", BigInteger, "what moved beyond our books, signed, 10^-6 元"),
    column("day", Date, "day of the entry, Beijing"),
    column("run_id", BigInteger, "the run that found it"),
    column("assignee", String(64), "处理人; empty for none"),
    column("decision", SmallInteger, "处理方式: 0 none yet"),
    column("remark", String(256), "备注"),
    column("decided_by", String(64), "who proposed the decision"),
    column("record_id", BigInteger, "变动编号: the ledger's record of its posting; 0 for none"),
    column(
        "dispute_id", BigInteger, "the dispute it is part of; 0 for none", server_default=text("0")
    ),
    moment("create_time", "创建时间"),
    moment("change_time", "changed last"),
    moment("end_time", "结束时间", null=True),
    one_of("kind", ExceptionKind),
    one_of("status", ExceptionStatus),
    Index("exception_once", "ours_id", "theirs_id", unique=True, postgresql_where=text(UNDECIDED)),
    Index(
        "exception_of_theirs",
        "theirs_id",
        postgresql_where=text(f"theirs_id > 0 AND {UNDECIDED}"),
    ),
    Index("exception_undecided", "exception_id", postgresql_where=text(UNDECIDED)),
    Index("exception_of_source", "source", "exception_id"),
    Index(
        "exception_of_dispute",
        *("dispute_id", "exception_id"),
        postgresql_where=text("dispute_id > 0"),
    ),
    comment="差错: differences between the books, until they are settled",
    info=rights(
        update=(
            *("status", "assignee", "decision", "remark", "decided_by", "record_id"),
            *("change_time", "end_time", "dispute_id"),
        )
    )
    | lifecycles(status=EXCEPTION.moves),
)

PERIODS: Final = Table(
    "period",
    METADATA,
    column("first_day", Date, "first day", key=True),
    column("last_day", Date, "last day", key=True),
    column("accounts", BigInteger, "accounts that the books have at its end"),
    column("opening_micros", BigInteger, "期初余额合计, 10^-6 元"),
    column("debits_micros", BigInteger, "支出合计, 10^-6 元, without a sign"),
    column("credits_micros", BigInteger, "收入合计, 10^-6 元"),
    column("closing_micros", BigInteger, "期末余额合计, 10^-6 元"),
    column("digest", LargeBinary, "SHA-256 over its trial balance"),
    column("closed_by", String(64), "who closed it"),
    moment("close_time", "结账时间"),
    CheckConstraint("last_day >= first_day", name="days"),
    CheckConstraint("closing_micros = opening_micros - debits_micros + credits_micros", name="sum"),
    comment="会计期间: closed days and months, and what they came to",
    info=rights(delete=True),
)
