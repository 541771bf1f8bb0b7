"""The settings of the finance service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from shoudan_kit.config import Port, Seconds, Secret
from shoudan_kit.proposals.settings import TwoPersonsSettings
from shoudan_kit.rpc.address import address
from shoudan_kit.seal_keys import key_of
from shoudan_kit.secrets.sealing_settings import DEMO_INDEX_KEY


class FinanceSettings(TwoPersonsSettings):
    """Settings of `shoudan serve finance`."""

    listen_port: Port = Field(50056, description="Port served; 0 takes any free one.")
    db_pool_size: int = Field(
        4,
        ge=2,
        le=64,
        description="Connections of this process: calls are few, and a day is filled on one.",
    )
    pay_target: str = address("pay", 50052)
    pay_call_s: Seconds = Field(10, description="Seconds one call of the ledger may take.")
    pay_export_s: Seconds = Field(
        600,
        description="Seconds one stream of the ledger may take; what is left comes with the next.",
    )
    order_target: str = address("order", 50051)
    order_call_s: Seconds = Field(30, description="Seconds one page of the order service may take.")
    delivery_target: str = address("delivery", 50053)
    delivery_call_s: Seconds = Field(
        10, description="Seconds one call of the delivery service may take."
    )
    index_key: Secret = Field(
        Secret(""),
        description="Key of the digests that recharge accounts are compared by, base64 of 32 bytes. Without "
        "it the books keep no account in prod, and none is matched by; elsewhere the demo's is used.",
    )
    trade_ident: str = Field(
        "oms",
        description="System the channels' ledger accounts belong to, as the order service posts them.",
    )
    follow_s: Seconds = Field(
        300,
        description="Seconds between looks for days the ledger has closed; an event says so earlier.",
    )
    alert_targets: str = Field(
        "", description="TOML file that names who of the staff is alerted of low balances, and how."
    )
    alert_cooldown_s: int = Field(
        600,
        ge=0,
        le=7 * 86_400,
        description="Seconds within which a target is alerted of one threshold's low balance once.",
    )
    public_url: str = Field(
        "",
        description="Address of the gateway as channels see it, for the links in notices of bills; "
        "without it they are paths.",
    )
    notice_waits_s: list[int] = Field(
        [5, 30, 60, 300, 900, 3600],
        min_length=1,
        max_length=20,
        description="Seconds before an alert or notice is sent again that was not acknowledged; the last one "
        "is repeated.",
    )
    statement_templates: str = Field(
        "",
        description="TOML file with the templates that statements are read with, beside our own, and the "
        "places where they are fetched.",
    )
    statement_fetch_s: Seconds = Field(
        300, description="Seconds between looks at the places where statements are fetched."
    )
    statement_bytes_max: int = Field(
        64 * 2**20, ge=2**20, le=2**30, description="Bytes a statement's file may have."
    )
    statement_unpacked_bytes_max: int = Field(
        512 * 2**20,
        ge=2**20,
        le=2**32,
        description="Bytes a packed file or a workbook may unpack to.",
    )
    statement_rows_max: int = Field(
        2_000_000, ge=1, le=10_000_000, description="Rows a statement's file may have."
    )
    daily_bills: list[Literal["fund", "trade", "supply", "merchant"]] = Field(
        ["fund", "trade", "supply", "merchant"],
        description="Which bills are made of each day by themselves, and of each month on its last day; "
        "the others when they are asked for.",
    )
    bill_rows_max: int = Field(
        50_000_000, ge=1000, description="Rows of one bill; one with more is not made."
    )
    xlsx_rows_max: int = Field(
        50_000,
        ge=1000,
        description="Rows of one workbook, some 600 bytes of `work_dir` each while it is made.",
    )
    work_dir: str = Field(
        "",
        description="Folder in which workbooks are made; the system's for temporary files when empty.",
    )
    tax_rates: str = Field(
        "",
        description="TOML file with the rates at which lines and products are invoiced; empty: invoices' "
        "data has no rates.",
    )
    exception_ident: str = Field(
        "oms",
        min_length=1,
        max_length=32,
        description="System whose accounts decisions about exceptions are posted to.",
    )
    close_exceptions_max: int = Field(
        0,
        ge=0,
        le=9999,
        description="Undecided exceptions of a period, and of before it, with which it may be closed.",
    )

    def cross_check(self) -> Iterator[str]:
        """The key can be read, and prod has one of its own."""
        yield from super().cross_check()
        try:
            self.account_key()
        except ValueError as error:
            yield f"index_key: {error}"
        if self.profile == "prod" and self.index_key.reveal() == DEMO_INDEX_KEY:
            yield "index_key: the demo's key must not be used in the prod profile"

    def account_key(self) -> bytes | None:
        """What accounts are hidden under; None in prod without a key. Raises ValueError."""
        given = self.index_key.reveal()
        if not given and self.profile == "prod":
            return None
        return key_of(given or DEMO_INDEX_KEY)
