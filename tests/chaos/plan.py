"""What will be done to the system and what is asked of it, drawn from a seed before anything starts.

The processes are real, so two runs of a seed are not the same run; they are the same plan.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from random import Random

from shoudan_cli.wiring import GATEWAY, SANDBOX, SERVICES, replica
from shoudan_order.kinds import DELIVER

REPLICAS = 2
NATS, POSTGRES, PKI, CLOCK = "nats", "postgres", "pki", "clock"
# Who calls whom: each pair has a link of its own to each replica.
CALLS = (
    (GATEWAY, "order"),
    (GATEWAY, "pay"),
    (GATEWAY, "delivery"),
    (GATEWAY, "erp_ingest"),
    ("order", "pay"),
    ("order", "delivery"),
    ("delivery", "order"),
    ("pay", "order"),
)
ON_NATS = ("order", "pay", "delivery", "erp_ingest", GATEWAY)


@dataclass(frozen=True, slots=True)
class Tier:
    """How much of both: faults, the mean time between two, orders, how long the rest may take."""

    faults: int
    gap_s: float
    orders: int
    drain_s: float


# What ends by itself may take as long as its longest reminder, and then as long as an order takes.
REST_S = DELIVER.interval_s + 30
TIERS = {
    "smoke": Tier(faults=10, gap_s=0.5, orders=40, drain_s=REST_S),
    "commit": Tier(faults=90, gap_s=0.9, orders=540, drain_s=REST_S),
    "hour": Tier(faults=4_100, gap_s=0.85, orders=50_500, drain_s=300),
}
QUIET_S = 2.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: when after the quiet, what, to whom, for how long."""

    at_s: float
    kind: str
    where: str
    lasts_s: float

    def __str__(self) -> str:
        return f"{self.at_s:8.2f} s {self.kind} {self.where} {self.lasts_s:.2f} s"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One order: when it is asked for, of which kind, how its supplier behaves, what the partner does."""

    at_s: float
    number: int
    kind: str
    tail: str
    twice: bool  # asked for by two at once
    differs: bool  # asked for again with another amount
    watched: bool  # asked about until it has ended
    refund: str


@dataclass(frozen=True, slots=True)
class Plan:
    """All of a run."""

    seed: int
    tier: str
    faults: Sequence[Fault]
    orders: Sequence[Wanted]

    def line(self) -> str:
        """For the log, to be read back by a person."""
        faults = [[round(one.at_s, 2), one.kind, one.where, one.lasts_s] for one in self.faults]
        return json.dumps({"seed": self.seed, "tier": self.tier, "faults": faults})

    def as_dict(self) -> dict[str, object]:
        """All of it."""
        return asdict(self)


PROCESSES = tuple(
    replica(name, number) for name in (*SERVICES, GATEWAY) for number in range(1, REPLICAS + 1)
)
# Those that an order passes through are hit more often than the others.
BUSY = tuple(one for one in PROCESSES if one.startswith(("order", "pay", "delivery", GATEWAY)))
LINKS = tuple(
    f"{client}>{replica(server, number)}"
    for client, server in CALLS
    for number in range(1, REPLICAS + 1)
)
DATABASES = tuple(f"{name}>{POSTGRES}" for name in SERVICES)
STREAMS = tuple(f"{name}>{NATS}" for name in ON_NATS)
ANY_LINK = (*LINKS, *DATABASES, *STREAMS)
QUEUES = ("oms:order:delivery", "oms:order:notify", "vds:order:request")
SUPPLIERS = ("ycup", "dearup")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault: its share of all, to whom, between which seconds it lasts (0: it only happens)."""

    weight: int
    where: Sequence[str]
    lasts_s: tuple[float, float] = (0, 0)


# The lease of a task is 2 s (stage.py): a pause of more loses it to another.
KINDS = {
    "kill": Kind(6, (*PROCESSES, *BUSY, *BUSY)),
    "pause": Kind(4, BUSY, (0.2, 3.5)),
    "roll": Kind(2, PROCESSES),
    "reset": Kind(3, ANY_LINK),
    "latency": Kind(2, ANY_LINK, (0.5, 2.5)),
    "silent": Kind(2, ANY_LINK, (0.3, 3.0)),
    "silent_up": Kind(2, ANY_LINK, (0.3, 3.0)),
    "silent_down": Kind(2, ANY_LINK, (0.3, 3.0)),
    "half_open": Kind(2, ANY_LINK, (1.0, 4.0)),
    "orphan": Kind(2, ANY_LINK, (1.0, 4.0)),
    "sliced": Kind(1, ANY_LINK, (0.5, 2.5)),
    "backends": Kind(2, SERVICES),
    "postgres_kill": Kind(1, (POSTGRES,)),
    "postgres_restart": Kind(1, (POSTGRES,)),
    "failover": Kind(1, (POSTGRES,)),
    "nats_kill": Kind(1, (NATS,)),
    "stream_lost": Kind(1, (NATS,)),
    "supplier_down": Kind(1, SUPPLIERS, (0.5, 3.0)),
    "supplier_slow": Kind(1, SUPPLIERS, (0.5, 3.0)),
    "supplier_unknown": Kind(1, SUPPLIERS, (0.5, 2.0)),
    "supplier_hangs": Kind(1, (SANDBOX,), (0.5, 3.0)),
    "partner_hangs": Kind(1, ("inbox",), (1.0, 4.0)),
    "partner_refuses": Kind(1, ("inbox",), (1.0, 4.0)),
    "partner_says_other": Kind(1, ("inbox",), (1.0, 4.0)),
    "partner_resets": Kind(1, ("inbox",), (1.0, 4.0)),
    "slow_fsync": Kind(1, (POSTGRES,), (1.0, 4.0)),
    "clock_jumps": Kind(1, (CLOCK,)),
    "certificates": Kind(1, (PKI,)),
    "operator_applies": Kind(1, ("catalogue",)),
    "operator_suspends": Kind(1, SUPPLIERS, (0.5, 2.0)),
    "operator_locks": Kind(1, SUPPLIERS, (0.5, 2.0)),
    "operator_pauses": Kind(1, QUEUES, (0.5, 2.0)),
    "operator_retries": Kind(1, ("order", "delivery")),
}

# Kind of order: its share, and the supplier's scripts it may meet (fakes, scripts.py).
SURE = ("0000",)
ODD = ("0000", "0002", "0005", "0006", "0009", "0010", "0011", "0012", "0013", "0014", "0016")
ORDERS = {
    "card": (50, ODD + SURE * 12),
    "fails": (8, ("0001", "0019")),
    "unknown": (3, ("0003",)),
    "late": (6, ("0017", "0018")),
    "split": (4, ("0004", "0000")),
    "voucher": (14, ("0000", "0000", "0021", "0020", "0022")),
    "phone": (8, SURE),
    "nobody": (4, SURE),
    "poor": (3, SURE),
}
REFUNDS = {"voucher": "general", "phone": "mandatory"}


def drawn(seed: int, tier: str) -> Plan:
    """The plan of a seed."""
    random, size = Random(f"{seed} {tier}"), TIERS[tier]
    faults = _faults(random, size)
    lasts = max(one.at_s for one in faults)
    return Plan(seed, tier, faults, _orders(random, size.orders, lasts))


def _faults(random: Random, tier: Tier) -> list[Fault]:
    """One of each kind where there is room, then by weight; in any order."""
    kinds = random.sample(list(KINDS), min(len(KINDS), tier.faults))
    weights = [one.weight for one in KINDS.values()]
    kinds += random.choices(list(KINDS), weights, k=tier.faults - len(kinds))
    random.shuffle(kinds)
    at, made = 0.0, []
    for name in kinds:
        kind = KINDS[name]
        where, lasts = random.choice(list(kind.where)), round(random.uniform(*kind.lasts_s), 2)
        made.append(Fault(at, name, where, lasts))
        at += random.uniform(0.4, 1.6) * tier.gap_s
    return made


def _orders(random: Random, count: int, over_s: float) -> list[Wanted]:
    names = random.choices(list(ORDERS), [share for share, _ in ORDERS.values()], k=count)
    return [
        Wanted(
            at_s=(number + random.random()) / count * over_s,
            number=number,
            kind=kind,
            tail=random.choice(ORDERS[kind][1]),
            twice=random.random() < 0.08,
            differs=random.random() < 0.04,
            watched=random.random() < 0.3 or kind in REFUNDS,
            refund=REFUNDS.get(kind, "") if random.random() < 0.7 else "",
        )
        for number, kind in enumerate(names)
    ]
