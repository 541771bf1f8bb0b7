"""A bill as a file: rows, sums at its end, and a manifest without which it is not published.

Made again of the same closed days it has the same bytes, so a bill that was published is never another one.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import IO, Final, TypeVar
from uuid import uuid4

import msgspec

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_kit.clock import beijing
from shoudan_kit.money import micros_to_yuan, yuan_to_micros
from shoudan_pay.commands import bill_sheets
from shoudan_pay.commands.bill_sheets import Style, safe

M = TypeVar("M", bound=msgspec.Struct)

VERSION: Final = 1
DRAFT: Final = ".draft-"
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
ABOUT: Final = ("", "订单", "订单退款", "上游发货", "上游退货", "支付", "人工")
CHANGE: Final = ("", "加款", "提款", "扣款", "退款", "交易平账", "余额平账")
TRADE: Final = ("", "交易", "手续费/服务费", "佣金", "红冲", "平账")


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


@dataclass(slots=True)
class Running:
    """Where one account stands in the middle of a bill."""

    account: pb.Account
    opening_micros: int
    days: Sequence[pb.AccountDay]
    balance_micros: int = 0
    counts: list[int] = field(default_factory=lambda: [0, 0])
    sums: list[int] = field(default_factory=lambda: [0, 0])

    def __post_init__(self) -> None:
        self.balance_micros = self.opening_micros

    def cells(self, record: pb.Record, day: str) -> list[str]:
        """The row of the account's next record. Raises BillInvalid when it does not follow."""
        before, amount = self.balance_micros, record.amount_micros
        if before + amount != record.balance_micros:
            raise BillInvalid(f"record {record.record_id} does not follow the one before")
        self.balance_micros = record.balance_micros
        paid = amount < 0
        self.counts[paid] += 1
        self.sums[paid] += abs(amount)
        return [
            day,
            str(record.record_id),
            str(record.account_id),
            safe(self.account.key.groups),
            str(record.seq),
            beijing(record.create_time.ToDatetime(UTC)),
            ABOUT[record.about],
            CHANGE[record.change_type],
            TRADE[record.trade_type],
            safe(record.trade_no),
            safe(record.ext_no),
            micros_to_yuan(before),
            micros_to_yuan(amount),
            micros_to_yuan(record.balance_micros),
            safe(record.memo),
        ]

    def total(self) -> AccountSum:
        """What it came to."""
        key, moved = self.account.key, bool(self.days)
        return AccountSum(
            account_id=self.account.account_id,
            ident=key.ident,
            groups=key.groups,
            eid=key.eid,
            name=self.account.name,
            opening_micros=self.opening_micros,
            credits=self.counts[0],
            credits_micros=self.sums[0],
            debits=self.counts[1],
            debits_micros=self.sums[1],
            closing_micros=self.balance_micros,
            seq_from=self.days[0].seq_from if moved else 0,
            seq_to=self.days[-1].seq_to if moved else 0,
            head_hash=self.days[-1].head_hash.hex() if moved else "",
        )


def sum_cells(one: AccountSum) -> list[str]:
    """The row of an account in the sums."""
    return [
        str(one.account_id),
        safe(one.groups),
        safe(one.name),
        micros_to_yuan(one.opening_micros),
        str(one.credits),
        micros_to_yuan(one.credits_micros),
        str(one.debits),
        micros_to_yuan(one.debits_micros),
        micros_to_yuan(one.closing_micros),
    ]


@dataclass(frozen=True, slots=True)
class Written:
    """What of a file its manifest says."""

    file: str
    sha256: str
    bytes: int
    rows: int


class BillWriter:
    """A bill being written beside its place: it has no name until `publish`."""

    def __init__(
        self, folder: Path, name: str, style: Style, header: Sequence[str] = HEADER
    ) -> None:
        """Raises OSError."""
        self._folder, self._name = folder, f"{name}{style.suffix}"
        self._draft = folder / f"{DRAFT}{uuid4().hex}"
        self._lines = bill_sheets.lines(self._draft, style)
        self._lines.head(header)
        self._open, self.rows = True, 0

    def _close(self) -> None:
        if self._open:
            self._open = False
            self._lines.close()

    def add(self, rows: Sequence[list[str]]) -> None:
        """Append rows."""
        self._lines.add(rows)
        self.rows += len(rows)

    def publish(
        self, ident: str, eid: str, days: tuple[str, str], accounts: list[AccountSum]
    ) -> tuple[Manifest, bool]:
        """Publish a fund bill: `publish_as`."""

        def made(written: Written) -> Manifest:
            return Manifest(
                file=written.file,
                sha256=written.sha256,
                bytes=written.bytes,
                rows=written.rows,
                ident=ident,
                eid=eid,
                first_day=days[0],
                last_day=days[1],
                accounts=accounts,
            )

        return self.publish_as((SUMS, map(sum_cells, accounts)), made, read_manifest)

    def publish_as(
        self,
        sums: tuple[Sequence[str], Iterable[Sequence[str]]],
        made: Callable[[Written], M],
        read: Callable[[Path], M],
    ) -> tuple[M, bool]:
        """Write the sums, see the file on the disk, then publish it with its manifest.

        Says whether it was published before with the same bytes. Raises BillInvalid when another one was.
        """
        self._lines.head(sums[0])
        self._lines.add(sums[1])
        self._close()
        sync(self._draft)
        size, sha256 = self._draft.stat().st_size, file_hash(self._draft)
        manifest = made(Written(self._name, sha256, size, self.rows))
        place = manifest_path(self._folder / self._name)
        if place.exists():
            self.discard()
            if read(place) != manifest:
                raise BillInvalid(f"{place.name} was published, and is another one")
            return manifest, True
        self._draft.replace(self._folder / self._name)
        draft = place.with_name(f"{DRAFT}{uuid4().hex}")
        with draft.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(place)
        sync(self._folder)
        return manifest, False

    def discard(self) -> None:
        """Remove what has no name."""
        self._close()
        self._draft.unlink(missing_ok=True)


def manifest_path(bill: Path) -> Path:
    """Where the manifest of a bill is."""
    return bill.with_name(f"{bill.name}.json")


def read_manifest(path: Path) -> Manifest:
    """The manifest. Raises BillInvalid, OSError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except msgspec.MsgspecError as error:
        raise BillInvalid(f"{path.name} is no manifest: {error}") from None


def file_hash(path: Path) -> str:
    """SHA-256 of a file, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """See a file on the disk; or a folder, and with it its new names."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def hold_bytes(bill: Path, sha256: str) -> None:
    """Raises BillInvalid unless the file has this hash; OSError."""
    if (found := file_hash(bill)) != sha256:
        raise BillInvalid(f"its bytes are not those that were published: sha256 is {found}")


def verify(bill: Path) -> Manifest:
    """The manifest of a bill whose bytes and sums are as it says. Raises BillInvalid, OSError."""
    manifest = read_manifest(manifest_path(bill))
    hold_bytes(bill, manifest.sha256)
    running = {str(one.account_id): one.opening_micros for one in manifest.accounts}
    if (
        bill.suffix == ".xlsx"
    ):  # for people: its rows are those of the CSV, and its bytes are proved
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
