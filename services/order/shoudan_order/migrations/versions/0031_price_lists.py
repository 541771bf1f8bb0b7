"""When what a channel sees of a product last changed, for price lists that hold changes alone."""

from alembic import op

from shoudan_kit.db.revising import BIG, TEXT, column, index, table

revision: str = "0031"
down_revision: str | None = "0030"


def upgrade() -> None:
    """Forward; what a process of the release before changes is seen by the version it leaves behind."""
    comment = "version up to which oms_shelf_version has what changed"
    op.add_column("oms_catalogue_version", column("shelved_version", BIG, comment, default="0"))
    table(
        "oms_shelf_version",
        column("channel_no", TEXT, "渠道编号"),
        column("product_id", BIG, "商品编号"),
        column("version", BIG, "catalogue version of its last change as the channel sees it"),
        key=["channel_no", "product_id"],
        comment="货架变更: when what a channel sees of a product last changed",
    )
    index("oms_shelf_version_since", "oms_shelf_version", ["channel_no", "version", "product_id"])
