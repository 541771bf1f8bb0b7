"""Numbers of accounts and packages are of one shard each: n * 10^12 above those of the first."""

from alembic import op

revision: str = "0022"
down_revision: str | None = "0021"

# The schema says which shard it is (shard_03); in that of the first one, or the only one, nothing changes.
FIRST = """
SELECT setval(s.name, s.first + substr(current_schema(), 7)::bigint * 1000000000000, false)
FROM (VALUES ('account_info_id_seq', 86000), ('package_info_id_seq', 620000)) AS s(name, first)
WHERE current_schema() ~ '^shard_[0-9]{2}$'
"""


def upgrade() -> None:
    """Forward; a shard of this service has no rows before this revision."""
    op.execute(FIRST)
