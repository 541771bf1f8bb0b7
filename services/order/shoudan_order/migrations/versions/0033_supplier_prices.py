"""Suppliers state prices and stock: by which rule they are taken over, and what was stated last."""

from alembic import op

from shoudan_kit.db.revising import BIG, BOOL, TEXT, TIME, column, index, table

revision: str = "0033"
down_revision: str | None = "0032"

NUMBERS = {
    "price_version": "the supplier's number of the newest price",
    "supply_version": "the supplier's number of the newest stock or shelf state",
    "stated_ppm": "newest price, of the face",
    "reference_ppm": "cost that a person set last, against which prices are judged",
    "taken_ppm": "price that was taken over last",
    "refused_ppm": "price that a person refused, while it is the newest",
}


def upgrade() -> None:
    """Forward; what is stated is ignored, as the release before does, until a rule says otherwise."""
    rule = "what is done with prices and stock it states"
    op.add_column("oms_up_channel", column("price_rule", TEXT, rule, default="'ignore'"))
    most = "how far a price may move by itself, of the cost a person set"
    op.add_column("oms_up_channel", column("price_move_max_ppm", BIG, most, default="0"))
    rule = "what is done with what its supplier states; empty: as the supplier's"
    op.add_column("oms_up_product", column("price_rule", TEXT, rule, default="''"))
    most = "how far its price may move by itself; 0: as the supplier's"
    op.add_column("oms_up_product", column("price_move_max_ppm", BIG, most, default="0"))
    table(
        "oms_supplier_price",
        column("product_id", BIG, "上游商品编号"),
        *(column(name, BIG, comment, default="0") for name, comment in NUMBERS.items()),
        column("as_of", TIME, "when the newest was heard, or asked for", null=True),
        column(
            "due_time", TIME, "from when the stated price is in force, while it is not", null=True
        ),
        column("asked_id", BIG, "a person is asked about the stated price", null=True),
        column("asked_time", TIME, "since when", null=True),
        column("suspended", BOOL, "taken off by what its supplier stated", default="false"),
        key=["product_id"],
        comment="上游报价: what suppliers stated of their products, and what was made of it",
    )
    index(
        "oms_supplier_price_asked",
        "oms_supplier_price",
        ["asked_id"],
        unique=True,
        where="asked_id IS NOT NULL",
    )
