"""What partners called: blocks of requests."""

from shoudan_kit.db.revising import BIG, BYTES, INT, TEXT, TIME, column, index, table

revision: str = "0038"
down_revision: str | None = "0037"


def upgrade() -> None:
    """Forward; the release before knows nothing of it."""
    table(
        "oms_request_block",
        column("party", TEXT, "whose: channel, merchant or supplier and its number"),
        column("block_no", BIG, "milliseconds of its last request, and 20 random bits"),
        column("record_count", INT, "requests in it"),
        column("lost_count", BIG, "requests lost at its gateway since the block before"),
        column("data", BYTES, "JSON of the requests, zlib"),
        column("create_time", TIME, "创建时间", default="shoudan_now()"),
        key=["party", "block_no"],
        comment="请求日志: what partners called, masked",
    )
    index("oms_request_block_create_time", "oms_request_block", ["create_time"])
