"""Which system a command speaks to: those that are up here, the one that is meant, proof that it answers."""

from __future__ import annotations

import asyncio
import fcntl
import os
import tomllib
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from shoudan_kit.process.polling import until

if TYPE_CHECKING:
    from shoudan_kit.tls.identity import Identity

NAME_VARIABLE: Final = "SHOUDAN_SYSTEM"
DEFAULT_NAME: Final = "main"
ANSWER_S: Final = 3.0
SYSTEM_MARK: Final = "shoudan.system."
PROFILE_MARK: Final = "shoudan.profile."
START_S_MAX: Final = 180.0  # another start that takes longer hangs
LOOK_EVERY_S: Final = 0.1


class SystemUnclear(Exception):
    """No system, or more than one, could be meant; or another one answers. One readable sentence."""


@dataclass(frozen=True, slots=True)
class Known:
    """A system that `shoudan up` keeps running here, as its file says."""

    name: str
    id: str
    pid: int
    home: str
    gateway_url: str
    targets: Mapping[str, str]
    file: Path


def folder() -> Path:
    """Where every `shoudan up` of this user notes its addresses, one file each."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "shoudan" / "systems"


def running() -> list[Known]:
    """The systems that are up here, by name. Files of processes that are gone count for nothing."""
    found = (_read(file) for file in sorted(folder().glob("*.toml")))
    return [one for one in found if one is not None and Path(f"/proc/{one.pid}").exists()]


def _read(file: Path) -> Known | None:
    try:
        document: dict[str, Any] = tomllib.loads(file.read_text("utf-8"))
        system, cli = document["system"], document["cli"]
        targets = {
            key.removesuffix("_target"): value
            for key, value in cli.items()
            if key.endswith("_target")
        }
        return Known(
            name=file.stem,
            id=system["id"],
            pid=system["pid"],
            home=system["home"],
            gateway_url=cli["gateway_url"],
            targets=targets,
            file=file,
        )
    except (OSError, ValueError, KeyError):
        return None  # being written, or removed meanwhile


def meant(wanted: str, *, addressed: bool) -> Known | None:
    """The system that is meant: the one `wanted`, else the only one that is up.

    `wanted` is a name, a data folder or the URL of a gateway. None when none is up, or when several are
    and the environment says where to call (`addressed`). Raises SystemUnclear.
    """
    systems = running()
    if wanted:
        for one in systems:
            if wanted.rstrip("/") in {one.name, one.gateway_url}:
                return one
            if Path(wanted).resolve() == Path(one.home).resolve():
                return one
        raise SystemUnclear(f"no system {wanted} is up here; up: {_names(systems)}")
    if len(systems) > 1 and not addressed:
        raise SystemUnclear(
            f"{len(systems)} systems are up: {_names(systems)}; name one: shoudan --system NAME …"
        )
    return systems[0] if len(systems) == 1 else None


def _names(systems: Iterable[Known]) -> str:
    return ", ".join(one.name for one in systems) or "none"


def free_name(wanted: str | None) -> str:
    """The name of a new system. Raises SystemUnclear when one of that name is up."""
    taken = {one.name for one in running()}
    if wanted in taken:
        raise SystemUnclear(f"a system {wanted} is up already: give another --name")
    return wanted or (
        DEFAULT_NAME if DEFAULT_NAME not in taken else f"{DEFAULT_NAME}-{os.getpid()}"
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service says of itself; empty where it says nothing."""

    target: str
    id: str
    profile: str


async def answering(
    target: str, service: str = "", identity: Identity | None = None
) -> Answer | None:
    """What listens at `target`, by mutual TLS with an `identity`; None when nothing answers.

    gRPC health lists shoudan.system.<id> and shoudan.profile.<profile> beside the services.
    """
    import grpc
    from grpc import aio
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from shoudan_kit.rpc.client import connect

    async with connect(target, service, identity, retry=False) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            request = health_pb2.HealthListRequest()
            listed: Any = await stub.List(request, timeout=ANSWER_S)
        except aio.AioRpcError as error:
            gone = error.code() is grpc.StatusCode.UNAVAILABLE and not await _listens(target)
            silent = gone or error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            return None if silent else Answer(target, "", "")
    names = list(listed.statuses)
    return Answer(target, _after(SYSTEM_MARK, names), _after(PROFILE_MARK, names))


async def _listens(target: str) -> bool:
    """Whether something takes connections there, although it refuses our certificate or our plaintext."""
    host, _, port = target.rpartition("/")[2].rpartition(":")
    try:
        async with asyncio.timeout(ANSWER_S):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except (OSError, ValueError):  # TimeoutError is an OSError
        return False
    writer.close()
    return True


def _after(mark: str, names: Iterable[str]) -> str:
    return next((one.removeprefix(mark) for one in names if one.startswith(mark)), "")


async def proved(
    system: Known | None, targets: Mapping[str, str], identity: Identity | None = None
) -> list[Answer]:
    """What answers at the addresses, each with the service expected there; those that are silent are left
    out, all that answer are one system.

    Raises SystemUnclear when it is another than `system` (None: than those that noted the address), or
    when two answer.
    """
    found = await asyncio.gather(*(answering(*one, identity) for one in targets.items()))
    answers = [one for one in found if one is not None]
    for answer in answers:
        owners = [system] if system else _noted_by(answer.target)
        if owners and answer.id not in {one.id for one in owners}:
            names = _names(owners)
            raise SystemUnclear(f"what answers at {answer.target} is not the system {names}")
        if (answer.id, answer.profile) != (answers[0].id, answers[0].profile):
            raise SystemUnclear(f"{described(answers[0])}; {described(answer)}: not one system")
    return answers


def _noted_by(target: str) -> list[Known]:
    return [one for one in running() if target in one.targets.values()]


def described(answer: Answer) -> str:
    """The system that answers, for people: name and gateway when it is up here, else its id."""
    for one in running():
        if answer.id and one.id == answer.id:
            return f"system {one.name} ({one.id}), {one.gateway_url}"
    if answer.profile:
        name = answer.id or "without an id"
        return f"system {name}, profile {answer.profile}, at {answer.target}"
    return f"what answers at {answer.target} and does not say which system it is"


@asynccontextmanager
async def starting(most_s: float = START_S_MAX) -> AsyncGenerator[None]:
    """One start at a time, so that no two choose the same ports; another one is waited for `most_s`.

    Raises SystemUnclear.
    """
    place = folder()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (place / "starting.lock").open("w") as file:
        try:
            free = await until(lambda: _locked(file.fileno()), most_s, every_s=LOOK_EVERY_S)
        except OSError as error:
            raise SystemUnclear(f"{place} cannot be locked ({error.strerror})") from None
        if not free:
            raise SystemUnclear("another `shoudan up` has been starting for too long")
        yield


def _locked(number: int) -> bool:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
