"""Trades have the number that the supplier was sent, and the account; entries of ours name their trade."""

import sqlalchemy as sa
from alembic import op

from shoudan_kit.db.revising import BIG, column

revision: str = "0017"
down_revision: str | None = "0016"

SHORT = sa.String(64)


def upgrade() -> None:
    """Forward; the release before leaves them empty."""
    words = "the number that the supplier was sent; empty of others"
    op.add_column("trade", column("supplier_no", SHORT, f"发货编号: {words}", default="''"))
    account = "充值账号 as far as it is shown, ~, keyed digest"
    op.add_column("trade", column("account", SHORT, f"{account}; empty of others", default="''"))
    op.add_column(
        "entry", column("trade_no", BIG, "发货、退货编号 of our own; 0 of theirs", default="0")
    )
    op.alter_column("entry", "account", comment=account)
