"""Which process of a whole system listens where, and the environment that configures them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.process.ports import free_port

SERVICES: Final = (
    "order",
    "pay",
    "delivery",
    "erp_ingest",
    "identity",
    "finance",
)  # those with a database
GATEWAY: Final = "gateway"
CONSOLE: Final = "console"
STORES: Final = (*SERVICES, CONSOLE)  # every database
SANDBOX: Final = "sandbox"
LOOPBACK: Final = "127.0.0.1"

# What people find written down; taken ones are passed over.
_USUAL: Final[Mapping[str, int]] = {
    GATEWAY: 8600,
    "internal": 8601,
    CONSOLE: 8610,
    SANDBOX: 8690,
    "order": 50051,
    "pay": 50052,
    "delivery": 50053,
    "erp_ingest": 50054,
    "identity": 50055,
    "finance": 50056,
    "order ops": 9601,
    "pay ops": 9602,
    "delivery ops": 9603,
    "erp_ingest ops": 9604,
    "gateway ops": 9605,
    "identity ops": 9606,
    "finance ops": 9607,
    "console ops": 9608,
    "postgres": 5433,
    "nats": 4222,
}
_NEVER: Final = "OWNER_DATABASE_URL"
_PREFIX: Final = "SHOUDAN_"
_NAMED_SECRET: Final = f"{_PREFIX}SECRET_"
_COMPONENT_SECRET: Final = f"{_PREFIX}COMPONENT_"
# What is no setting, and which processes read it.
_PROGRAMS: Final[Mapping[str, tuple[str, ...]]] = {
    "SHOUDAN_CONFIG": (*SERVICES, GATEWAY, CONSOLE),
    "SHOUDAN_FAULTS": (*SERVICES, GATEWAY, CONSOLE),
    "SHOUDAN_MOCK_SECRET": (SANDBOX,),
}
USUAL_GATEWAY: Final = _USUAL[GATEWAY]


@dataclass(frozen=True, slots=True)
class Ports:
    """One port for each purpose; `moved` says which are not the usual ones, and why."""

    numbers: Mapping[str, int]
    moved: tuple[str, ...]

    def __getitem__(self, purpose: str) -> int:
        return self.numbers[purpose]


def replica(name: str, number: int) -> str:
    """What the processes of a service are called: the first as the service, the others with their number."""
    return name if number == 1 else f"{name}-{number}"


def choose_ports(gateway: int | None, *, usual: bool, replicas: int = 1) -> Ports:
    """The usual ports or the next free ones; without `usual`, any free ones. `gateway` stays as given.

    Replicas of a service after the first listen on free ports.
    """
    numbers: dict[str, int] = {}
    moved: list[str] = []
    if gateway is not None:
        numbers[GATEWAY] = gateway
    for purpose, wanted in _USUAL.items():
        if purpose in numbers:
            continue
        port = _unused(set(numbers.values()), wanted if usual else None)
        if usual and port != wanted:
            moved.append(f"{purpose} {wanted}→{port}")
        numbers[purpose] = port
    for name in (*SERVICES, GATEWAY):
        for number in range(2, replicas + 1):
            for purpose in (replica(name, number), f"{replica(name, number)} ops"):
                numbers[purpose] = _unused(set(numbers.values()), None)
    return Ports(numbers, tuple(moved))


def _unused(ours: set[int], wanted: int | None) -> int:
    """Free, and not promised to another purpose: promised ports are not listening yet."""
    port = free_port(wanted)
    while port in ours:
        port = free_port(None if wanted is None else port + 1)
    return port


def target(ports: Ports, name: str, replicas: int = 1) -> str:
    """Where clients find a service: the gRPC address of its process, or of all its replicas."""
    each = [f"{LOOPBACK}:{ports[replica(name, one)]}" for one in range(1, replicas + 1)]
    return each[0] if replicas == 1 else f"ipv4:{','.join(each)}"


def environment(
    profile: str,
    ports: Ports,
    databases: Mapping[str, DatabaseUrls],
    nats_url: str,
    replicas: int = 1,
) -> dict[str, str]:
    """Everything the services, the gateway, the sandbox and the commands need to find each other."""
    url = _url_of(ports)
    env = {
        "SHOUDAN_PROFILE": profile,
        "SHOUDAN_NATS_URL": nats_url,
        "SHOUDAN_SANDBOX_URL": url(SANDBOX),
        "SHOUDAN_GATEWAY_URL": url(GATEWAY),
        "SHOUDAN_DELIVERY_PUBLIC_URL": url(GATEWAY),
        "SHOUDAN_GATEWAY_PUBLIC_BASE_URL": url(GATEWAY),
        "SHOUDAN_PAY_PUBLIC_BASE_URL": url(GATEWAY),
        "SHOUDAN_GATEWAY_LISTEN_PORT": str(ports[GATEWAY]),
        "SHOUDAN_GATEWAY_INTERNAL_PORT": str(ports["internal"]),
        "SHOUDAN_GATEWAY_OPS_PORT": str(ports["gateway ops"]),
        "SHOUDAN_CONSOLE_LISTEN_PORT": str(ports[CONSOLE]),
        "SHOUDAN_CONSOLE_OPS_PORT": str(ports["console ops"]),
        "SHOUDAN_RPC_CONNECTION_AGE_S": "300",  # no replica joins here that would have to be found
        "SHOUDAN_CLI_OPS_URLS": _ops_urls(ports, replicas),
        "SHOUDAN_CONSOLE_OPS_URLS": _ops_urls(ports, replicas),
    }
    for name in STORES:
        big = name.upper()
        env[f"SHOUDAN_{big}_DATABASE_URL"] = databases[name].service
        env[f"SHOUDAN_{big}_OWNER_DATABASE_URL"] = databases[name].owner
    for name in SERVICES:
        big = name.upper()
        env[f"SHOUDAN_{big}_LISTEN_PORT"] = str(ports[name])
        env[f"SHOUDAN_{big}_OPS_PORT"] = str(ports[f"{name} ops"])
        env[f"SHOUDAN_{big}_TARGET"] = target(ports, name, replicas)
    return env


def own_environment(name: str, settings: Collection[str], env: Mapping[str, str]) -> dict[str, str]:
    """The part of `env` that process `name` gets: of shoudan's variables only those that it reads.

    `settings` are the names of its settings: SHOUDAN_PAY_TARGET is also a setting of the order
    service. An owner's password is for `shoudan migrate` alone. A named secret says whose it is:
    SHOUDAN_GATEWAY_SECRET_X reaches the gateway, as SHOUDAN_SECRET_X.
    """
    read = ((_as_read(name, settings, variable), value) for variable, value in env.items())
    return {variable: value for variable, value in read if variable}


def ownerless(env: Mapping[str, str]) -> list[str]:
    """Named secrets of `env` that do not say whose they are: they reach no process."""
    return sorted(one for one in env if one.startswith(_NAMED_SECRET))


def _as_read(name: str, settings: Collection[str], variable: str) -> str:
    """How the process reads a variable; empty when it does not."""
    if not variable.startswith(_PREFIX):
        return variable
    plain = variable.removesuffix("_FILE")
    own = f"{_PREFIX}{name.upper()}_"
    if plain.endswith(_NEVER):
        return ""
    if plain in _PROGRAMS or plain.startswith(_COMPONENT_SECRET):
        wanted = _PROGRAMS.get(plain, ("pay",))
        return variable if name in wanted else ""
    if plain.startswith(own):
        named = plain.startswith(f"{own}SECRET_")
        return _PREFIX + variable.removeprefix(own) if named else variable
    shared = plain.removeprefix(_PREFIX).lower()
    others = tuple(f"{_PREFIX}{one.upper()}_" for one in (*STORES, GATEWAY, "CLI"))
    if shared not in settings or (plain.startswith(others) and "_url" in shared):
        return ""
    return variable


def _ops_urls(ports: Ports, replicas: int) -> str:
    """The ops ports of every process, by service, as JSON; there is one console."""
    url = _url_of(ports)
    counts = {name: 1 if name == CONSOLE else replicas for name in (*STORES, GATEWAY)}
    return json.dumps(
        {
            name: ",".join(url(f"{replica(name, one)} ops") for one in range(1, count + 1))
            for name, count in counts.items()
        }
    )


def _url_of(ports: Ports) -> Callable[[str], str]:
    return lambda purpose: f"http://{LOOPBACK}:{ports[purpose]}"
