"""Nonces of signed writes are used up in the transaction of the write, whichever replica takes it."""

from shoudan_kit.db.revising import (
    BIG,
    TEXT,
    TIME,
    column,
    index,
    table,
)

revision: str = "0012"
down_revision: str | None = "0011"


def upgrade() -> None:
    """Forward."""
    table(
        "oms_used_nonce",
        column("channel_no", TEXT, "渠道编号"),
        column("nonce", TEXT, "随机串 of a signed write"),
        column("call_id", BIG, "the HTTP request that used it; sent again it is no replay"),
        column("expire_time", TIME, "when it may be forgotten"),
        key=["channel_no", "nonce"],
        comment="随机串记录: used nonces, shared by all replicas of gateway and order",
    )
    index("oms_used_nonce_expire", "oms_used_nonce", ["expire_time"])
