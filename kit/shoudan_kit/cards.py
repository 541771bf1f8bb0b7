"""A card as partners read it, whichever way it comes to them."""

from __future__ import annotations

from datetime import UTC

from shoudan.core.v1 import core_pb2
from shoudan_kit.clock import beijing
from shoudan_kit.money import micros_to_yuan


def shown(one: core_pb2.Card) -> dict[str, str]:
    """Its documented fields; what it has not is left out."""
    facts = {name: getattr(one, name) for name in ("number", "password", "link", "qr")}
    if one.HasField("expire_time"):
        facts["expiry"] = beijing(one.expire_time.ToDatetime(UTC))
    return {
        "card_id": str(one.card_id),
        **{name: text for name, text in facts.items() if text},
        "face": micros_to_yuan(one.face_micros),
        "status": one.status.upper(),
    }
