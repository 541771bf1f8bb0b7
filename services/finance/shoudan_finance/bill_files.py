"""A bill as a file beside its manifest, and the proof that it is the one that was published."""

from __future__ import annotations

import csv
import gzip
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final, TypeVar

import msgspec

from shoudan_kit.money import yuan_to_micros

M = TypeVar("M", bound=msgspec.Struct)

VERSION: Final = 1
FOR_PEOPLE: Final = (".xlsx", ".pdf")  # what they say is what the CSV says; their bytes are proved
HEADER: Final = (
    "记账日",
    "变动编号",
    "账户编号",
    "账户分组",
    "账内序号",
    "变动时间",
    "业务类型",
    "变动类型",
    "交易类型",
    "交易编号",
    "关联编号",
    "变动前余额(元)",
    "变动金额(元)",
    "变动后余额(元)",
    "备注",
)
SUMS: Final = (
    "账户编号",
    "账户分组",
    "账户名称",
    "期初余额(元)",
    "收入笔数",
    "收入合计(元)",
    "支出笔数",
    "支出合计(元)",
    "期末余额(元)",
)


class BillInvalid(ValueError):
    """Why a file is no bill, in words."""


class AccountSum(msgspec.Struct, frozen=True):
    """What a bill says of one account; seqs and hash are 0 and empty when it did not move."""

    account_id: int
    ident: str
    groups: str
    eid: str
    name: str
    opening_micros: int
    credits: int
    credits_micros: int
    debits: int
    debits_micros: int
    closing_micros: int
    seq_from: int
    seq_to: int
    head_hash: str


class Manifest(msgspec.Struct, frozen=True):
    """What was published: the hash of the file as it stands, and the sums that it must come to."""

    file: str
    sha256: str
    bytes: int
    rows: int
    ident: str
    eid: str
    first_day: str
    last_day: str
    accounts: list[AccountSum]
    version: int = VERSION


def manifest_path(bill: Path) -> Path:
    """Where the manifest of a bill is."""
    return bill.with_name(f"{bill.name}.json")


def read(content: bytes, kind: type[M], name: str) -> M:
    """A manifest of either kind. Raises BillInvalid."""
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.MsgspecError as error:
        raise BillInvalid(f"{name} has no manifest: {error}") from None


def read_manifest(path: Path) -> Manifest:
    """The manifest. Raises BillInvalid, OSError."""
    return read(path.read_bytes(), Manifest, path.name)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hold_bytes(bill: Path, sha256: str) -> None:
    """Raises BillInvalid unless the file has this hash; OSError."""
    if (found := file_hash(bill)) != sha256:
        raise BillInvalid(f"its bytes are not those that were published: sha256 is {found}")


def verify(bill: Path) -> Manifest:
    """The manifest of a bill whose bytes and sums are as it says. Raises BillInvalid, OSError."""
    manifest = read_manifest(manifest_path(bill))
    hold_bytes(bill, manifest.sha256)
    running = {str(one.account_id): one.opening_micros for one in manifest.accounts}
    if bill.suffix in FOR_PEOPLE:
        return manifest
    rows = 0
    with opened(bill) as lines:
        for cells in details(csv.reader(lines), HEADER, SUMS):
            account, before, amount, after = cells[2], *map(micros, cells[11:14])
            if running.get(account) != before or before + amount != after:
                raise BillInvalid(f"row {rows + 1} does not follow the account's row before it")
            running[account] = after
            rows += 1
    if rows != manifest.rows:
        raise BillInvalid(f"it has {rows} rows, its manifest says {manifest.rows}")
    for one in manifest.accounts:
        moved = one.credits_micros - one.debits_micros
        if not running[str(one.account_id)] == one.closing_micros == one.opening_micros + moved:
            raise BillInvalid(f"account {one.account_id} does not end with what it should")
    return manifest


def opened(bill: Path) -> IO[str]:
    """A bill as text, unpacked."""
    if bill.suffix == ".gz":
        return gzip.open(bill, "rt", encoding="utf-8-sig", newline="")
    return bill.open(encoding="utf-8-sig", newline="")


def details(
    rows: Iterator[list[str]], header: Sequence[str], sums: Sequence[str]
) -> Iterator[list[str]]:
    """The rows between the two headers, without the marks of a style. Raises BillInvalid."""
    for row in rows:
        cells = [cell.removeprefix("`") for cell in row]
        if cells == list(header):
            continue
        if cells == list(sums):
            return
        if len(cells) != len(header):
            raise BillInvalid("a row has more or fewer cells than the header")
        yield cells
    raise BillInvalid("it has no sums: it was cut off")


def micros(text: str) -> int:
    """An amount of a bill. Raises BillInvalid."""
    try:
        return yuan_to_micros(text, signed=True)
    except ValueError:
        raise BillInvalid(f"{text} is no amount") from None
