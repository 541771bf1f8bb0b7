"""The comment of a channel's protocol names the folder of the modules as it is called now."""

from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"


def upgrade() -> None:
    """Forward."""
    comment = "module of protocols/ that speaks with it"
    op.alter_column("vds_channel_info", "protocol", comment=comment)
