"""What a service declares of its database. Apart from `migrate`: a service that runs needs no Alembic."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import MetaData

from shoudan_kit.db.chains import Chains
from shoudan_kit.db.ended import Ended


@dataclass(frozen=True)
class Schema:
    """What a service's database holds. `append_only` tables are never changed or deleted from.

    `ended` says which rows leave by number once they have ended, `chains` which leave by closed days; a
    service without has none. `keys` select the texts that are keys of shards and have rows, `copied` the
    days of another service's chains that are here whole.
    """

    package: str
    metadata: MetaData
    append_only: tuple[str, ...] = ()
    ended: Ended | None = None
    keys: tuple[str, ...] = ()
    chains: Chains | None = None
    copied: str = ""
