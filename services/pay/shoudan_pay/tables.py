"""The metadata that the tables of every product belong to."""

from __future__ import annotations

from shoudan_kit.credentials import tables as credentials
from shoudan_kit.proposals.tables import add_alone_call, add_proposal
from shoudan_kit.tasks import tables

METADATA = tables.metadata()
credentials.declare(METADATA)
add_proposal(METADATA)
add_alone_call(METADATA)
