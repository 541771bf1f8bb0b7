"""What a dry run said, as one word that the call itself carries: it changes that, or nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha256

from shoudan_kit.audit_log.changes import Change
from shoudan_kit.rpc.refusal import KitRefusal


class BaseMoved(KitRefusal):
    """Meanwhile it would change something else."""

    what: str


def base_of(changes: Iterable[Change]) -> str:
    """The same word for the same changes from the same values alone."""
    sides = [[one.thing, one.before, one.after] for one in changes]
    text = json.dumps(sides, default=str, sort_keys=True, ensure_ascii=False)
    return sha256(text.encode()).hexdigest()


def check_base(what: str, given: str, changes: Iterable[Change]) -> None:
    """Refuses BaseMoved when a base is given and these are other changes."""
    if given and given != base_of(changes):
        raise BaseMoved(what)
