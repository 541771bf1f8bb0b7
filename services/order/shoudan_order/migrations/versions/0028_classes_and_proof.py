"""A supplier has a risk class; a line says which classes it forbids, and whether it wants 运营商流水号."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from shoudan_kit.db.revising import BOOL, TEXT, column

revision: str = "0028"
down_revision: str | None = "0027"


def upgrade() -> None:
    """Forward; no supplier has a class, and no line forbids one or wants a number."""
    what = "风险类别, such as slow (慢充); empty for none"
    op.add_column("oms_up_channel", column("risk_class", TEXT, what, default="''"))
    which = "risk classes of suppliers that never deliver its orders"
    none = sa.text("'[]'")
    op.add_column(
        "oms_product_line",
        sa.Column(
            "forbid_supplier_classes", JSONB(), nullable=False, server_default=none, comment=which
        ),
    )
    proof = "a success without 运营商流水号 is unknown"
    op.add_column(
        "oms_product_line", column("require_carrier_serial", BOOL, proof, default="false")
    )
