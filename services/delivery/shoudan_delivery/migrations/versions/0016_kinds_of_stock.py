"""The kinds of goods in our own stock, and what is reserved of them, are found through an index."""

import sqlalchemy as sa
from alembic import op

PHASE: str = "index"
revision: str = "0016"
down_revision: str | None = "0015"

GOODS = ["channel_no", "carrier_no", "face_micros"]
ADDED = (
    ("vds_card_kind", "import_no <> ''"),
    ("vds_card_reserved", "status = 20"),
)


def upgrade() -> None:
    """Forward; what was made before it was cut off stays."""
    for name, where in ADDED:
        op.create_index(
            name,
            "vds_card",
            GOODS,
            postgresql_where=sa.text(where),
            postgresql_concurrently=True,
            if_not_exists=True,
        )
