"""What a benched system is made of: how many shards, channels and processes, under which rules."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Final

import yaml

from shoudan_cli.system import demo_catalogue
from shoudan_kit.embedded.postgres import CONNECTIONS

FIRST: Final = "test"  # the channel of the demonstration that orders are placed for
FACE: Final = (
    200  # yuan, of the first supplier; each other one delivers a yuan more than the one before
)
PRODUCTS_MAX: Final = 50_000  # of the catalogue: each channel sells what every supplier delivers
HASTY: Final = f"{FIRST}-hasty"
HASTY_S: Final = 2
SHARDED: Final = ("ORDER", "PAY", "DELIVERY", "ERP_INGEST")
POOL: Final = 8  # connections of a process for each shard
POOL_MAX: Final = 64
_NUMBERS: Final = 1_000_000  # of shelves and products, above those of the demonstration
_MAP: Final = 'epoch = 1\nshards = {0}\n[[ranges]]\nshards = "0-{1}"\nserver = "own"\n'


@dataclass(frozen=True, slots=True)
class Layout:
    """One database for each service with all `shards` of it; orders take turns among the channels.

    `rules`: orders state the most they accept, are counted by rules that refuse beyond a bound, and go to
    the supplier with the best outcome of those whose class their line does not forbid. `stored`: so many
    orders of the past are there before, of a channel in a hurry, too, whose orders fail after HASTY_S.
    """

    shards: int = 1
    channels: int = 1
    replicas: int = 1
    rules: bool = False
    stored: int = 0
    suppliers: int = 1

    @property
    def names(self) -> Sequence[str]:
        """The channels."""
        return [FIRST, *(f"{FIRST}-{number}" for number in range(2, self.channels + 1))]

    @property
    def faces(self) -> Sequence[int]:
        """What is ordered in turn, one of each supplier."""
        return range(FACE, FACE + self.suppliers)

    @property
    def pool(self) -> int:
        """Connections of one process to its server."""
        return min(POOL * self.shards, POOL_MAX)

    @property
    def connections(self) -> int:
        """Connections of all processes, with some for migrations, commands and the bench itself."""
        return max(CONNECTIONS, 100 + self.pool * self.replicas * (len(SHARDED) + 1))

    def environment(self, folder: Path) -> dict[str, str]:
        """The maps, written into `folder`; nothing to say of one shard."""
        if self.shards == 1:
            return {}
        file = folder / "shards.toml"
        file.write_text(_MAP.format(self.shards, self.shards - 1), "utf-8")
        maps = {f"SHOUDAN_{one}_SHARDS": str(file) for one in SHARDED}
        return maps | {"SHOUDAN_DB_POOL_SIZE": str(self.pool)}

    def catalogue(self, folder: Path) -> Path:
        """The demonstration with all channels, each like the first one; written into `folder`."""
        source = demo_catalogue()
        if self == replace(ONE, shards=self.shards, replicas=self.replicas):
            return source
        document: Any = yaml.safe_load(source.read_text("utf-8"))
        if self.rules:
            for line in document["lines"]:
                line |= {"route_policy": "outcome", "forbid_supplier_classes": ["slow"]}
        channels: list[Any] = document["down_channels"]
        (first,) = (one for one in channels if one["channel_no"] == FIRST)
        more = [*self.names[1:], *([HASTY] if self.stored else [])]
        for number, name in enumerate(more, _NUMBERS):
            channel = deepcopy(first)
            (shelf,) = channel["shelves"]
            shelf |= {"order_overtime_s": HASTY_S} if name == HASTY else {}
            shelf |= {"shelf_id": number, "products": shelf["products"][:1]}
            shelf["products"][0]["product_id"] = number
            channels.append(channel | {"channel_no": name, "channel_name": name})
        self._add_suppliers(document, [one for one in channels if one["channel_no"] in self.names])
        file = folder / "catalogue.yaml"
        file.write_text(yaml.safe_dump(document, allow_unicode=True), "utf-8")
        return file

    def _add_suppliers(self, document: Any, channels: Sequence[Any]) -> None:
        """Each after the first one like it, with a product of its own face; sold by all channels."""
        up: list[Any] = document["up_channels"]
        first, like = up[0], document["suppliers"][0]
        numbers = count(2 * _NUMBERS)
        for face in self.faces[1:]:
            name = f"up-{face}"
            shelf = deepcopy(first["shelves"][0])
            product = shelf["products"][0] | {"product_id": next(numbers), "face": face}
            shelf |= {"shelf_id": next(numbers), "products": [product]}
            up.append({"channel_no": name, "channel_name": name, "shelves": [shelf]})
            document["suppliers"].append(like | {"channel_no": name})
            for channel in channels:
                products: list[Any] = channel["shelves"][0]["products"]
                products.append(products[0] | {"product_id": next(numbers), "face": face})


ONE: Final = Layout()
