"""Promises of the folder of statements: what was done to it is found, and a person has a way out."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_kit.config import Secret
from shoudan_pay.config import PaySettings
from shoudan_pay.ledger.statement_files import read_file
from shoudan_pay.ledger.statements import Keys, StatementInvalid
from tests.pay.ledger.harness import reason, refusal_of, told
from tests.pay.ledger.signing import SigningHarness, Turnable, first_key, opened, sealed_yesterday


async def three_days(base: Turnable, folder: Path) -> None:
    for day in (-3, -2, -1):
        async with opened(base, folder, day=day) as signing:
            await signing.chain(1)
            await signing.seal()


def listed(folder: Path) -> list[Path]:
    return sorted(folder.glob("statement-*"))


def in_line(file: Path, number: int, old: bytes, new: bytes) -> None:
    """Change one line of a statement's file."""
    lines = file.read_bytes().splitlines(keepends=True)
    assert old in lines[number]
    lines[number] = lines[number].replace(old, new, 1)
    replaced(file, b"".join(lines))


def replaced(file: Path, content: bytes) -> None:
    file.unlink()
    file.write_bytes(content)


def forged_sum(files: list[Path]) -> None:
    in_line(files[2], -1, b'"sum_micros":3', b'"sum_micros":9')


def signed_by_a_stranger(files: list[Path]) -> None:
    said = read_file(files[2], keys_of_demo()).statement
    lines = files[2].read_bytes().splitlines(keepends=True)
    replaced(files[2], b"".join(lines[:-1]) + Keys("a stranger's").sign(said) + b"\n")


def keys_of_demo() -> Keys:
    return Keys("demo-statement")


def another_head(files: list[Path]) -> None:
    in_line(files[2], 1, b",1,1000000,", b",1,2000000,")


def cut_off(files: list[Path]) -> None:
    replaced(files[2], files[2].read_bytes()[:-40])


def cut_at_a_line(files: list[Path]) -> None:
    replaced(files[2], b"".join(files[2].read_bytes().splitlines(keepends=True)[:-1]))


def newest_gone(files: list[Path]) -> None:
    files[2].unlink()


def middle_gone(files: list[Path]) -> None:
    files[1].unlink()


def other_name(files: list[Path]) -> None:
    files[2].rename(files[2].with_name("statement-00000003-2020-01-01.jsonl"))


def middle_from_another_series(files: list[Path]) -> None:
    keys = keys_of_demo()
    said = read_file(files[1], keys).statement
    lines = files[1].read_bytes().splitlines(keepends=True)
    replaced(
        files[1], b"".join(lines[:-1]) + keys.sign(msgspec.structs.replace(said, taken="")) + b"\n"
    )


@pytest.mark.parametrize(
    ("hurt", "what"),
    [
        (forged_sum, "its signature does not fit: it is forged"),
        (signed_by_a_stranger, "it is signed with a key that is not known"),
        (another_head, "its heads are not those that were signed"),
        (cut_off, "it was cut off"),
        (cut_at_a_line, "it was cut off"),
        (newest_gone, "statement 3 was made, but its file is missing"),
        (middle_gone, "statement 2 is missing"),
        (other_name, "it is another one than its name says"),
        (middle_from_another_series, "it follows another statement than the one before it"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_what_was_done_to_the_statements_is_found_and_nothing_more_is_signed(
    base: Turnable, folder: Path, hurt: Callable[[list[Path]], None], what: str
) -> None:
    await three_days(base, folder)
    hurt(listed(folder))
    async with opened(base, folder) as signing:
        (found,) = await signing.findings()
        assert found.startswith("0/0: ")
        assert what in found
        assert await signing.refused() == [found]
        # The way out of a person who has judged it: a new series, which admits that it is one.
        made = await signing.seal(restart=True)
        assert (made.number, signing.kept().statement.restart) == (4, True)
        assert (await signing.seal(restart=True)).hash == made.hash
        assert await signing.findings() == []


async def test_the_oldest_statements_may_be_taken_away(base: Turnable, folder: Path) -> None:
    await three_days(base, folder)
    listed(folder)[0].unlink()
    async with opened(base, folder) as signing:
        assert await signing.findings() == []


async def test_a_process_with_another_folder_makes_no_series_of_its_own(
    base: Turnable, folder: Path, tmp_path: Path
) -> None:
    await three_days(base, folder)
    other = tmp_path / "other"
    other.mkdir()
    async with opened(base, other) as signing:
        assert await signing.refused() == ["0/0: statement 3 was made, but its file is missing"]
        assert signing.files() == []


async def test_a_restored_ledger_is_behind_its_statement_until_somebody_says_so(
    base: Turnable, folder: Path
) -> None:
    async with sealed_yesterday(base, folder) as signing:
        await signing.cut(await first_key(signing), 3)  # as a backup from before would be
        assert await signing.refused() != []
        assert (await signing.seal(restart=True)).number == 2
        assert await signing.findings() == []
        said = signing.kept().statement
        assert (said.restart, said.proved_from, said.records) == (True, 0, 3)


# ---------------------------------------------------------------- refusals


async def test_without_a_folder_there_is_no_statement_and_proofs_go_on(
    base: Turnable,
) -> None:
    async with opened(base, None) as signing:
        await signing.chain()
        assert reason(await refusal_of(signing.seal())) == "STATEMENTS_OFF"
        keys = told(signing.stub.GetStatementKeys(pb.GetStatementKeysRequest()))
        assert reason(await refusal_of(keys)) == "STATEMENTS_OFF"
        assert (await signing.proof()).records == 5


async def test_a_folder_that_cannot_be_used_is_refused_without_its_path(
    base: Turnable, tmp_path: Path
) -> None:
    file = tmp_path / "no folder"
    file.write_text("")
    async with opened(base, file) as signing:
        refused = await refusal_of(signing.seal())
        assert reason(refused) == "STATEMENTS_UNUSABLE"
        assert "no folder" not in str(refused)


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"after_account_id": 5, "last_account_id": 5}, "last_account_id"),
        ({"heads": [pb.Head(account_id=1, owner=b"x")]}, "heads"),
        ({"heads": [pb.Head(account_id=n, owner=b"x" * 16) for n in (2, 1)]}, "heads"),
        ({"heads": [pb.Head(account_id=n, owner=b"x" * 16) for n in range(1, 1002)]}, "heads"),
    ],
)
async def test_heads_that_are_none_are_refused(
    signing: SigningHarness, fields: dict[str, Any], what: str
) -> None:
    async def ask() -> None:
        async for _ in signing.stub.VerifyAgainst(pb.VerifyAgainstRequest(**fields)):
            pass

    refused = await refusal_of(told(ask()))
    assert (reason(refused), refused.metadata["field"]) == ("FIELD_INVALID", what)


def test_what_is_no_statement_of_ours_is_refused() -> None:
    keys = Keys("one")
    for line in (b"[]", b"", b"{}", b'{"statement":{},"key":"x","signature":""}'):
        with pytest.raises(StatementInvalid):
            keys.read(line)
    with pytest.raises(ValueError, match="no key"):
        Keys("\n")


PUBLIC = Keys("one").lines[0]


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({}, "ledger_statements_dir: without it"),
        ({"ledger_statements_dir": Path("/x")}, "ledger_statement_keys: a demo secret"),
        ({"ledger_statement_keys": Secret("short")}, "a secret has at least 32 characters"),
        ({"ledger_statement_keys": Secret(PUBLIC)}, "the first line is the secret that signs"),
        ({"ledger_statement_keys": Secret("s" * 32 + "\npublic:eA==")}, "32 bytes in base64"),
    ],
)
def test_production_asks_for_a_folder_and_a_key_of_its_own(
    given: dict[str, Any], what: str
) -> None:
    made = PaySettings(profile="prod", database_url=Secret("postgresql://x/y"), **given)
    assert any(what in mistake for mistake in made.cross_check())


def test_settings_of_production_with_a_folder_and_keys_are_in_order() -> None:
    keys = Secret("s" * 32 + "\n" + PUBLIC)
    made = PaySettings(
        profile="prod",
        database_url=Secret("postgresql://x/y?sslmode=verify-full&sslrootcert=/ca.pem"),
        ledger_keys=Secret("k" * 32),
        audit_log_keys=Secret(f"k1:{b64encode(bytes(32)).decode()}"),
        component_secret=Secret("c" * 32),
        ledger_statements_dir=Path("/statements"),
        ledger_statement_keys=keys,
    )
    assert list(made.cross_check()) == []
