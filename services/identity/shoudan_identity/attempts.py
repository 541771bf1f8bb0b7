"""Failed logins: counted by device or address, so that no one can lock out someone else.

A name is counted per address, a known device by itself, and an address over all names. An address from
which the operator logged in lately does not count against him over all names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Final

from shoudan_identity import access, codes
from shoudan_identity.context import Context
from shoudan_identity.refusals import TooManyAttempts
from shoudan_identity.rows import OperatorRow
from shoudan_identity.states import AttemptScope
from shoudan_identity.store import attempts as store
from shoudan_identity.store import operators
from shoudan_identity.store.attempts import Counted
from shoudan_kit.tasks.unit_of_work import UnitOfWork

ADDRESS_TIMES: Final = 4  # free attempts of an address, as many times those of a name
RATE_PER_S: Final = 5.0  # attempts of one address that are looked at
BURST: Final = 40
# Attempts of one address refused for a wait that are in the audit log: these at once, then one a minute.
WAIT_ROWS: Final = 5
WAIT_ROWS_PER_S: Final = 1 / 60


@dataclass(frozen=True, slots=True)
class Admitted:
    """An attempt that may be checked, counted as failed until it succeeds."""

    operator: OperatorRow | None
    counted: tuple[Counted, ...]
    counts: tuple[int, ...]

    async def succeed(self, work: UnitOfWork) -> None:
        """It was right."""
        await store.succeed(work.db, self.counted, self.counts)

    async def take_back(self, context: Context) -> None:
        """It was neither right nor wrong."""
        async with context.app.work("identity.attempt") as work:
            await store.take_back(work.db, self.counted, self.counts)


async def admit(context: Context, name: str, device: str, address: str) -> Admitted:
    """Count an attempt before anything of it is checked. Refuses TooManyAttempts."""
    if not context.rates.take(network_of(address), context.app.clock.monotonic()):
        raise TooManyAttempts(1)
    async with context.app.work("identity.attempt") as work:
        operator = await operators.by_name(work.db, name if access.is_name(name) else "")
        operator_id = operator.operator_id if operator is not None else 0
        known = await operators.known(work.db, operator_id, codes.digest(device), address)
        counted = _counted(context, name, device if known[0] else "", address, lately=known[1])
        counts, wait_s = await store.charge(work.db, counted, context.settings.login_wait_s_max)
        if not counts:
            raise TooManyAttempts(max(1, math.ceil(wait_s)))
    return Admitted(operator, counted, tuple(counts))


def network_of(address: str) -> str:
    """What stands for an address: of IPv6 the /64, which one subscriber has whole."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    return str(ip_network((found, 64), strict=False)) if found.version == 6 else str(found)


def _counted(
    context: Context, name: str, device: str, address: str, *, lately: bool
) -> tuple[Counted, ...]:
    """What the attempt counts against; the last one is its own."""
    free, network = context.settings.login_free_attempts, network_of(address)

    def of(scope: AttemptScope, value: str, times: int = 1) -> Counted:
        return Counted(scope, context.ring.mac(f"attempt {scope}", value), free * times)

    if device:
        return (of(AttemptScope.DEVICE, device),)
    own = of(AttemptScope.NAME, f"{network} {name}")
    return (own,) if lately else (of(AttemptScope.ADDRESS, network, ADDRESS_TIMES), own)
