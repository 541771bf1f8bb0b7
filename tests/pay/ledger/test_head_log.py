"""Promises of the head log: what is done to the ledger between two statements is found, too."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_pay.commands import ledger
from shoudan_pay.ledger.head_files import read_logged
from tests.pay.ledger.harness import YUAN, posting
from tests.pay.ledger.signing import SigningHarness, Turnable, first_key, opened, sealed_yesterday
from tests.pay.ledger.test_commands import runner
from tests.poll import eventually

OFTEN: dict[str, Any] = {"ledger_head_log_s": 0.1}
NEVER: dict[str, Any] = {"ledger_head_log_s": 600}


async def grown(signing: SigningHarness) -> pb.AccountKey:
    """The account with its five records in the statement, and three more behind it."""
    key = await first_key(signing)
    await signing.groups(*[[posting(key, YUAN)] for _ in range(3)])
    return key


@pytest.mark.parametrize("left", [0, 3])
async def test_records_cut_off_between_two_statements_are_found(
    base: Turnable, folder: Path, tmp_path: Path, left: int
) -> None:
    async with opened(base, folder, day=-1) as before:
        await before.chain()
        await before.seal()
    async with opened(base, folder, **OFTEN) as signing:
        new = await signing.chain(4)  # an account the statement does not have
        key = await grown(signing)
        await signing.logged(key, new)
        assert await signing.findings() == []
        shutil.copytree(folder, tmp_path / "mine")
        await signing.cut(key, 5)
        await signing.cut(new, left)
        wanted = {
            f"{await signing.id_of(key)}/0: the logged record with seq 8 is gone: records were cut off",
            f"{await signing.id_of(new)}/0: the logged record with seq 4 is gone: records were cut off",
        }
        assert set(await signing.findings()) == wanted
        assert set(await signing.full_findings()) == wanted
        assert set(await signing.refused()) == wanted
        # As an auditor, with copies of his own: the folder of the service is emptied.
        (tmp_path / "keys").write_text("\n".join(signing.keys.lines))
        against = ("verify", "--against", str(tmp_path / "mine"), "--keys", str(tmp_path / "keys"))
        for more in ((), ("--full",)):
            hurt = await runner(signing, ledger)(*against, *more)
            assert (hurt.exit_code, hurt.output.count("records were cut off")) == (1, 2)


@pytest.mark.parametrize("how", ["resealed", "others in their place"])
async def test_records_rewritten_between_two_statements_are_found(
    base: Turnable, folder: Path, how: str
) -> None:
    async with sealed_yesterday(base, folder):
        pass
    async with opened(base, folder, **OFTEN) as signing:
        key = await grown(signing)
        await signing.logged(key)
        if how == "resealed":
            await signing.rewrite(key, 7, 9 * YUAN, first=6)
        else:
            await signing.cut(key, 5)
            await signing.groups(*[[posting(key, 2 * YUAN)] for _ in range(4)])
            await eventually(lambda: read_logged(folder, signing.keys, 0).wrong)
        wanted = "the logged record with seq 8 "
        for _ in range(2):
            assert [wanted in one for one in await signing.findings()] == [True]
            assert [wanted in one for one in await signing.full_findings()] == [True]
            await signing.groups([posting(key, YUAN)])
            await signing.logged(key)
        assert [wanted in one for one in await signing.refused()] == [True]


async def test_records_cut_off_before_they_were_logged_are_remembered(
    base: Turnable, folder: Path
) -> None:
    async with sealed_yesterday(base, folder):
        pass
    async with opened(base, folder, **NEVER) as signing:
        key = await grown(signing)
        logged = read_logged(folder, signing.keys, 0).heads
        assert logged[await signing.id_of(key)].seq == 5
        await signing.cut(key, 5)
    async with opened(base, folder) as signing:
        (found,) = await signing.findings()
        assert "the logged record with seq 8 is gone" in found


async def test_a_restored_ledger_is_held_to_its_log_until_somebody_says_so(
    base: Turnable, folder: Path
) -> None:
    async with sealed_yesterday(base, folder):
        pass
    async with opened(base, folder, **OFTEN) as signing:
        key = await grown(signing)
        await signing.logged(key)
        await signing.cut(key, 5)  # as a backup from before would be
        assert await signing.refused() != []
        assert (await signing.seal(restart=True)).number == 2
        assert await signing.findings() == []
        await grown(signing)
        await signing.logged(key)
        assert await signing.findings() == []
    async with opened(base, folder, day=1) as after:
        assert (await after.seal()).number == 3


async def test_the_log_is_bounded_and_old_ones_go(base: Turnable, folder: Path) -> None:
    small = OFTEN | {"ledger_head_log_bytes": 3_000}
    async with opened(base, folder, day=-3, **small) as signing:
        keys = [await signing.chain(1) for _ in range(3)]
        names: set[str] = set()
        for _ in range(12):
            await signing.groups(*[[posting(key, YUAN)] for key in keys])
            await signing.logged(*keys)
            await eventually(lambda: len(signing.logs()) == 1)
            names |= {one.name for one in signing.logs()}
            assert sum(one.stat().st_size for one in signing.logs()) < 5_000
        assert len(names) > 1
        assert await signing.findings() == []
    (first,) = (folder / name for name in names if (folder / name).exists())
    for day in (-3, -2, -1):
        async with opened(base, folder, day=day, **OFTEN) as signing:
            await signing.seal()
            await signing.groups([posting(keys[0], YUAN)])
            await signing.logged(keys[0])
            assert await signing.findings() == []
    # What a process left behind that the last two statements have both proved.
    assert not first.exists()


def changed(lines: list[bytes]) -> list[bytes]:
    return [lines[0].replace(b'"after":', b'"after": '), *lines[1:]]


def one_less(lines: list[bytes]) -> list[bytes]:
    return lines[:1] + lines[2:]


def torn(lines: list[bytes]) -> list[bytes]:
    return [*lines, lines[-1][:20]]


@pytest.mark.parametrize(
    ("hurt", "what"),
    [
        (changed, "entry 1: its signature does not fit: it is forged"),
        (one_less, "entry 2 does not follow the one before it"),
        (torn, ""),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_what_was_done_to_the_log_is_found(
    base: Turnable, folder: Path, hurt: Callable[[list[bytes]], list[bytes]], what: str
) -> None:
    async with opened(base, folder, **OFTEN) as signing:
        key = await signing.chain(1)
        for _ in range(3):
            await signing.groups([posting(key, YUAN)])
            await signing.logged(key)
        (file,) = signing.logs()
    file.write_bytes(b"".join(hurt(file.read_bytes().splitlines(keepends=True))))
    async with opened(base, folder) as signing:
        assert [one.partition(": ")[2] for one in await signing.findings()] == (
            [f"{file.name}: {what}"] if what else []
        )
