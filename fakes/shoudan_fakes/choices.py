"""What a person has chosen for the sandbox supplier: a script for an account, an order, or a channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from shoudan_fakes.scripts import SCRIPTS, Script, chinese

ACCOUNT: Final = "account"
ORDER: Final = "order"
CHANNEL: Final = "channel"
DOWN: Final = "down"
CHOSEN_MAX: Final = 500  # of accounts and orders each
KEY_CHARS_MAX: Final = 64


class Knobs(msgspec.Struct, forbid_unknown_fields=True):
    """What may be turned while it runs; durations in seconds. One set per channel, "*" for the others."""

    latency_s: float = 0.0
    slow_s: float = 30.0
    late_s: float = 15.0
    notify_after_s: float = 0.2
    # Plays this script whatever the account says; empty for none.
    script: str = ""
    # False: a repeated number is fulfilled again, as at a supplier that promises nothing.
    idempotent: bool = True
    # Never fulfils without having been asked; answers HTTP 503 to everything.
    down: bool = False


class Choice(msgspec.Struct, forbid_unknown_fields=True):
    """One choice; without a script it is taken back."""

    kind: str
    key: str
    script: str = ""


class Choices:
    """All of them: that for an order goes before that for its account, and that before a channel's."""

    def __init__(self, knobs: dict[str, Knobs]) -> None:
        self._knobs = knobs
        self._scripts: dict[str, dict[str, str]] = {ORDER: {}, ACCOUNT: {}}

    def of(self, order_id: str, account: str) -> Script | None:
        """The script that was chosen for an order, or its account."""
        chosen = self._scripts
        script = chosen[ORDER].get(order_id) or chosen[ACCOUNT].get(account)
        return SCRIPTS.get(script) if script else None

    def choose(self, choice: Choice) -> str:
        """Why it cannot be chosen; empty when it is."""
        known = not choice.script or choice.script in SCRIPTS
        known = known or (choice.script == DOWN and choice.kind == CHANNEL)
        if not known or not 0 < len(choice.key) <= KEY_CHARS_MAX:
            return "no such script, or no key"
        if choice.kind == CHANNEL:
            self._turn(choice)
            return ""
        chosen = self._scripts.get(choice.kind)
        if chosen is None:
            return f"kind is {ACCOUNT}, {ORDER} or {CHANNEL}"
        chosen.pop(choice.key, None)
        if choice.script:
            while len(chosen) >= CHOSEN_MAX:
                chosen.pop(next(iter(chosen)))
            chosen[choice.key] = choice.script
        return ""

    def _turn(self, choice: Choice) -> None:
        before = self._knobs.get(choice.key) or self._knobs["*"]
        down = choice.script == DOWN
        script = "" if down else choice.script
        self._knobs[choice.key] = msgspec.structs.replace(before, down=down, script=script)

    def shown(self) -> Mapping[str, object]:
        """What can be chosen, and what was."""
        said = chinese()
        scripts = [
            {"script": tail, "about": one.about, "about_zh": said.get(tail, "")}
            for tail, one in SCRIPTS.items()
        ]
        chosen = [
            Choice(kind, key, script)
            for kind, found in self._scripts.items()
            for key, script in found.items()
        ]
        turned = [
            Choice(CHANNEL, channel_no, DOWN if knobs.down else knobs.script)
            for channel_no, knobs in self._knobs.items()
            if knobs.down or knobs.script
        ]
        return {"scripts": scripts, "choices": [*turned[:CHOSEN_MAX], *chosen][: 2 * CHOSEN_MAX]}
