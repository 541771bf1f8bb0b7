"""Cards: codes as goods, sealed; a channel that must deliver them; every fetch of them."""

from __future__ import annotations

from alembic import op

from shoudan_kit.db.revising import (
    BIG,
    BOOL,
    BYTES,
    INT,
    SMALL,
    TEXT,
    TIME,
    check,
    column,
    index,
    table,
    unique,
)

revision: str = "0015"
down_revision: str | None = "0014"

_REST = (
    "CREATE TABLE vds_card_fetch_rest PARTITION OF vds_card_fetch DEFAULT"
    " WITH (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05)"
)


def upgrade() -> None:
    """Forward; the release before neither reads nor writes any of it."""
    comment = "卡密: a success without a card for every unit is unknown"
    op.add_column("vds_channel_info", column("delivers_cards", BOOL, comment, default="false"))
    table(
        "vds_card",
        column("card_id", BIG, "卡密编号"),
        column("channel_no", TEXT, "渠道编号: the supplier, or our own stock"),
        column("carrier_no", TEXT, "运营商"),
        column("face_micros", BIG, "面值, micro-yuan"),
        column(
            "order_no", BIG, "发货编号 it is reserved or issued for; NULL in the stock", null=True
        ),
        column("seq", INT, "its place among the cards of the delivery, from 1; 0 in the stock"),
        column("status", SMALL, "状态 10 库存 20 预留 30 已发放 40 已查看 50 已核销 90 作废"),
        column("sealed", BYTES, "卡号, 卡密, link and QR text, sealed"),
        column("digest", BYTES, "keyed digest of the same, so that it is stored once"),
        column("import_no", TEXT, "批次: the import it came with; empty for a supplier's"),
        column("expire_time", TIME, "有效期", null=True),
        column("reveal_time", TIME, "first fetched by the partner", null=True),
        column("return_no", BIG, "发货编号 of the return that voided it", null=True),
        column("create_time", TIME, "创建时间"),
        column("last_update_time", TIME, "最后更新时间"),
        unique("vds_card_digest_key", "digest"),
        check("vds_card_status_check", "status IN (10, 20, 30, 40, 50, 90)"),
        check(
            "vds_card_owned",
            "CASE WHEN status = 10 THEN order_no IS NULL"
            " WHEN status = 90 THEN true ELSE order_no IS NOT NULL END",
        ),
        key=["card_id"],
        comment="卡密: codes that suppliers or our own stock deliver",
    )
    index("vds_card_order_no", "vds_card", ["order_no", "seq"], where="order_no IS NOT NULL")
    index("vds_card_return_no", "vds_card", ["return_no"], where="return_no IS NOT NULL")
    goods = ["channel_no", "carrier_no", "face_micros", "expire_time", "card_id"]
    index("vds_card_stock", "vds_card", goods, where="status = 10")
    _fetches()


def _fetches() -> None:
    table(
        "vds_card_fetch",
        column("fetch_id", BIG, "编号"),
        column("coop_id", TEXT, "合作方"),
        column("order_id", TEXT, "the order whose cards were fetched"),
        column("reader", TEXT, "partner, notify, or the operator"),
        column("remote_ip", TEXT, "where the call came from; empty for a notify"),
        column("cards", INT, "how many were in the answer"),
        column("reason", TEXT, "why, of an operator"),
        column("create_time", TIME, "创建时间"),
        key=["fetch_id"],
        comment="卡密查看记录: every answer that held cards in clear",
        partition_by="RANGE (fetch_id)",
    )
    op.execute(_REST)
    index("vds_card_fetch_order_id", "vds_card_fetch", ["order_id"])


def downgrade() -> None:
    """Back."""
    op.drop_table("vds_card_fetch")
    op.drop_table("vds_card")
    op.drop_column("vds_channel_info", "delivers_cards")
