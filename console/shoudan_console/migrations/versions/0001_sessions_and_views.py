"""Sessions of browsers, and the views that operators save."""

import sqlalchemy as sa

from shoudan_kit.db.revising import BIG, BYTES, TEXT, TIME, check, column, index, table

revision: str = "0001"
down_revision: str | None = None


def upgrade() -> None:
    """Forward."""
    table(
        "console_session",
        column("session_hash", BYTES, "SHA-256 of the cookie"),
        column("operator_id", BIG, "whose"),
        column("operator", TEXT, "login name"),
        column("roles", sa.ARRAY(sa.Text()), "for what is shown; services judge"),
        column(
            "tokens_sealed",
            BYTES,
            "encrypted with a key that the cookie alone gives: the operator's tokens",
        ),
        column("create_time", TIME, "logged in"),
        column("use_time", TIME, "last request, to half a minute"),
        column("end_time", TIME, "ends at the latest"),
        column("prove_time", TIME, "password and code were given last", null=True),
        check("console_session_hash_length", "length(session_hash) = 32"),
        key=["session_hash"],
        comment="会话: browsers of operators",
    )
    index("console_session_end", "console_session", ["end_time"])
    index("console_session_use", "console_session", ["use_time"])
    table(
        "console_view",
        column("operator_id", BIG, "whose"),
        column("page", TEXT, "the list it is of"),
        column("name", TEXT, "as the operator calls it"),
        column("query", TEXT, "filters, as in the address"),
        column("create_time", TIME, "saved"),
        check("console_view_page_length", "length(page) BETWEEN 1 AND 40"),
        check("console_view_name_length", "length(name) BETWEEN 1 AND 60"),
        check("console_view_query_length", "length(query) <= 2000"),
        key=["operator_id", "page", "name"],
        comment="视图: filters of lists that an operator saved",
    )
