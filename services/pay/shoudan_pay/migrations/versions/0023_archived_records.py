"""Records of closed days leave the database: where chains begin, their keys and their lots stay."""

from __future__ import annotations

import sqlalchemy as sa

from shoudan_kit.db.revising import BIG, BYTES, DATE, SMALL, TIME, check, column, index, table

revision: str = "0023"
down_revision: str | None = "0022"

TEXT = sa.Text()
NUMBER = sa.String(64)


def upgrade() -> None:
    """Forward; the release before neither reads nor writes any of it."""
    table(
        "ledger_archived_lot",
        column("lot_no", TEXT, "批次: of records that leave together"),
        column("low", BIG, "its first number of its day"),
        column("high", BIG, "its last number of its day"),
        column("place", TEXT, "address of the archive that has its files"),
        column("chosen_time", TIME, "its keys are known since", default="shoudan_now()"),
        column("written_time", TIME, "its files were read back", null=True),
        column("deleted_time", TIME, "its records have left", null=True),
        column("day", DATE, "记账日, Asia/Shanghai"),
        key=["lot_no"],
        comment="归档批次",
    )
    index(
        "ledger_archived_lot_open",
        "ledger_archived_lot",
        [sa.text("(deleted_time IS NULL)")],
        unique=True,
        where="deleted_time IS NULL",
    )
    table(
        "account_archived",
        column("account_id", BIG, "账户编号"),
        column("seq", BIG, "seq of its last record that has left"),
        column("balance_micros", BIG, "余额 it left, 10^-6 元"),
        column("hash", BYTES, "hash of it: what the next record's seal covers"),
        check("account_archived_seq", "seq > 0"),
        key=["account_id"],
        comment="归档起点: where the records of accounts begin that have left from the front",
    )
    table(
        "account_archived_record",
        column("trade_no", NUMBER, "交易编号"),
        column("account_id", BIG, "账户编号"),
        column("trade_type", SMALL, "交易类型"),
        column("change_type", SMALL, "变动类型"),
        column("record_id", BIG, "变动编号"),
        column("ext_no", NUMBER, "扩展编号: what a refund or reversal quotes"),
        column("amount_micros", BIG, "变动金额, signed, 10^-6 元"),
        column("balance_micros", BIG, "变动后余额, 10^-6 元"),
        column("seq", BIG, "position within the account"),
        column("create_time", TIME, "创建时间"),
        key=["trade_no", "account_id", "trade_type", "change_type"],
        comment="归档变动: what stays known of records that have left the database",
    )
    index(
        "account_archived_record_ext_no",
        "account_archived_record",
        ["ext_no", "account_id"],
        where="ext_no <> ''",
    )
