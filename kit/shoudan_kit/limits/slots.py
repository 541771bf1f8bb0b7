"""Slots that the shards of a process take together: what waits for one is gathered until it comes.

A batch that is cut and then waits for a connection stays as small as it was cut. With several shards on a
server each has a share of what arrives; with slots of its own each would have as many batches under way as a
single shard, together more than there are connections, each with few rows. So they share the slots of one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable


class Slots:
    """At most `most` at once, in order of asking."""

    def __init__(self, most: int) -> None:
        self._left = most
        self._asking: dict[Hashable, Callable[[], None]] = {}
        self._offered: Hashable | None = None

    def take(self, who: Hashable, again: Callable[[], None]) -> bool:
        """Take one, if one is left and none asked before; otherwise `again` is called once, when it comes.

        What `again` does not take is offered to the next.
        """
        if self._left and (self._offered is who or not self._asking):
            self._left -= 1
            self._offered = None
            return True
        self._asking.setdefault(who, again)
        return False

    def give_back(self) -> None:
        """One that was taken."""
        self._left += 1
        while self._left and self._asking:
            self._offered = next(iter(self._asking))
            self._asking.pop(self._offered)()
            self._offered = None


class SlotBook:
    """The slots of a process at one server, by what they are for."""

    def __init__(self) -> None:
        self._of: dict[str, Slots] = {}

    def of(self, name: str, most: int) -> Slots:
        """The same for every shard that asks."""
        if name not in self._of:
            self._of[name] = Slots(most)
        return self._of[name]
