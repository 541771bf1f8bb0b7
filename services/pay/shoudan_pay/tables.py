"""The metadata that the tables of every product belong to."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, String

from shoudan_kit.credentials import tables as credentials
from shoudan_kit.db.columns import column, moment
from shoudan_kit.proposals.tables import add_alone_call, add_proposal
from shoudan_kit.tasks import tables

METADATA = tables.metadata()
credentials.declare(METADATA)
add_proposal(METADATA)
add_alone_call(METADATA)


def why_parked() -> tuple[Column[Any], Column[Any]]:
    """The two columns of a row that may wait for a person."""
    why = "why it waits for a person; empty otherwise"
    return (
        column("parked_reason", String(128), why, server_default=""),
        moment("parked_time", "since when it waits for a person", null=True),
    )
