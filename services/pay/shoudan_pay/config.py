"""The settings of the pay service."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from shoudan_kit.config import Port, Seconds, Secret
from shoudan_kit.http.ssrf import opened
from shoudan_kit.proposals.settings import TwoPersonsSettings
from shoudan_kit.rpc.address import address
from shoudan_kit.secrets.sealing_settings import CredentialSealingSettings

UMS_WAITS_S = [5.0, 15.0, 60.0, 300.0]
NOTICE_WAITS_S = [15, 15, 30, 180, 600, 1200, 1800, 1800, 1800, 3600]
WINDOW_S_MAX = 3600
PUBLIC_KEY = "public:"
PUBLIC_KEY_LINE = re.compile(r"public:[A-Za-z0-9+/]{43}=")
STATEMENT_KEY_CHARS_MIN = 32


class PaySettings(CredentialSealingSettings, TwoPersonsSettings):
    """Section [pay]."""

    shardable: ClassVar[bool] = True
    masked: ClassVar[frozenset[str]] = frozenset(
        {"bankCardNo", "bank_card_no", "pay_account", "payBarCode", "pay_bar_code"}
    )

    rpc_concurrency_max: int = Field(
        2000,
        ge=1,
        le=10_000,
        description="Calls in progress at once. Many: calls wait together for one group commit.",
    )
    ledger_batch_max: int = Field(
        500,
        ge=1,
        le=5000,
        description="Postings in one group commit. More per commit cost less, but hold the hot rows longer.",
    )
    ledger_linger_s: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Seconds newcomers gather while another group commit is in flight; none when idle.",
    )
    ledger_in_flight_max: int = Field(
        2,
        ge=1,
        le=8,
        description="Group commits at once: one is computed while the other waits for the disk.",
    )
    ledger_waiting_max: int = Field(
        10_000,
        ge=1,
        le=100_000,
        description="Calls that may wait for a group commit; more are refused with OVERLOADED.",
    )
    limit_exempt_groups: list[str] = Field(
        [
            *("down_commission", "down_service", "up_channel", "up_commission", "up_service"),
            *("suspense", "write_off"),  # what finance decides about exceptions
        ],
        description="Groups whose new accounts may go below zero; all others are limited by credit.",
    )
    verify_page_rows: int = Field(
        5000,
        ge=100,
        le=50_000,
        description="Records one statement of a verification reads; far below the statement time-out.",
    )
    verify_run_pages: int = Field(
        10,
        ge=1,
        le=1_000,
        description="Statements of records after which a verification may be interrupted: a longer chain is "
        "proved in several runs.",
    )
    ledger_keys: Secret = Field(
        Secret("demo-ledger"),
        description="Keys that seal the ledger's records, one a line: the first seals, the others prove what "
        "they sealed. Never in the database: who can write there must not be able to seal.",
        examples=["(from SHOUDAN_PAY_LEDGER_KEYS_FILE)"],
    )
    ledger_unkeyed_id_max: int = Field(
        0,
        ge=0,
        description="Highest record_id that may have the plain hash of the time before keys; 0: none. "
        "For a ledger that is older than its keys.",
    )
    ledger_day_cut: str = Field(
        "00:00",
        pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$",
        description="Time of day (Asia/Shanghai, HH:MM) at which the accounting day of the ledger begins, "
        "the same one in every pay process.",
        examples=["00:00"],
    )
    ledger_close_after_s: float = Field(
        60.0,
        ge=0,
        le=6 * 3600,
        description="Seconds after the cut until the day before is closed. What is posted after that belongs "
        "to the next day, whatever the clock says.",
    )
    verify_at: str = Field(
        "03:30",
        pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9])?$",
        description="Time of day (Asia/Shanghai, HH:MM) at which one process proves the ledger and signs its "
        "statement, every night; empty: never. Choose a quiet hour.",
        examples=["03:30"],
    )
    verify_full_days: int = Field(
        7,
        ge=1,
        le=366,
        description="Days after which the nightly proof reads every record again; in between it begins where "
        "the last statement ended. A record changed without a key behind a statement is found by then.",
    )
    verify_workers: int = Field(
        2,
        ge=1,
        le=6,
        description="Runs of 200 accounts proved at once, each on a connection of the pool.",
    )
    verify_call_s: float = Field(
        10.0,
        ge=0,
        le=20,
        description="Seconds after which a call that proves begins nothing new and its caller goes on with "
        "another one; below the grace a connection has at its end.",
    )
    ledger_statements_dir: Path | None = Field(
        None,
        description="Folder of the daily signed statements, the same one for every pay process and not on "
        "the database's disk; without it none are made, which prod refuses.",
        examples=["/statements"],
    )
    ledger_head_log_bytes: int = Field(
        16 * 2**20,
        ge=1_024,
        le=2**30,
        description="Bytes of one head log; beyond, a new one begins with what still counts.",
    )
    ledger_head_log_s: float = Field(
        5.0,
        ge=0.1,
        le=600,
        description="Seconds after which the ends of the chains that this process added to are written to "
        "the folder of statements. Records cut off are missed only of a process that died within them.",
    )
    ledger_statement_keys: Secret = Field(
        Secret("demo-statement"),
        description="Ed25519 keys of the statements, one a line: the first signs, the others, which may be "
        "public ones (public:…), prove what they signed.",
        examples=["(from SHOUDAN_PAY_LEDGER_STATEMENT_KEYS_FILE)"],
    )
    order_target: str = address("order", 50051)  # for orders that a Dingdang trade pays
    public_base_url: str = Field(
        "http://127.0.0.1:8600",
        description="Where partners reach the gateway; notify URLs handed to components begin with it.",
        examples=["https://pay.example.com"],
    )
    pays_batch_max: int = Field(
        1000, ge=1, le=5000, description="PayServer pays or refunds in one transaction."
    )
    pays_waiting_max: int = Field(
        10_000,
        ge=1,
        le=100_000,
        description="Calls that may wait for such a transaction; more are refused with OVERLOADED.",
    )
    component_timeout_s: Seconds = Field(
        5,
        description="Seconds a payment component may take to answer; after that the pay is paying and asked "
        "about again. Below the gateway's rpc_deadline_s.",
    )
    component_rest_s: float = Field(
        5.0,
        gt=0,
        le=300,
        description="Seconds a component rests after 5 calls in a row without an answer; doubled each time,"
        " up to 300.",
    )
    component_calls_max: int = Field(
        64,
        ge=1,
        le=1000,
        description="Calls in flight to one payment component, over all processes.",
    )
    component_poll_s: Seconds = Field(
        10, description="Longest seconds between questions about a pay in paying, as 002 advises."
    )
    component_lost_s: Seconds = Field(
        60, description="Seconds after which a component that does not know a number is believed."
    )
    component_networks: list[str] = Field(
        default_factory=list[str],
        description="Private networks components may live in; outside of prod loopback is allowed, too.",
        examples=["192.168.7.0/24"],
    )
    component_ports: list[Port] = Field(
        default_factory=list[int],
        description="Ports components may be called on; empty: 80 and 443 in prod, any elsewhere.",
        examples=["80,443,6103"],
    )
    component_secret: Secret = Field(
        Secret("demo-component"),
        description="Secret that the signs of components without a secret of their own are derived from.",
    )
    secrets_dir: Path | None = Field(
        None,
        description="Folder of the components' own secrets, one file each, named SHOUDAN_COMPONENT_….",
        examples=["/run/secrets"],
    )
    ums_window_s: float = Field(
        300, gt=0, description="Seconds a ChinaUMS Timestamp may differ from our clock."
    )
    dingdang_window_s: float = Field(
        180,
        gt=0,
        description="Seconds a Dingdang Datetime may differ from our clock (its document: 3 minutes).",
    )
    ums_waits_s: list[float] = Field(
        UMS_WAITS_S,
        min_length=1,
        max_length=50,
        description="Seconds before each question about a refund ChinaUMS has not ended; the last repeats.",
    )
    ums_lost_s: float = Field(
        300,
        gt=0,
        description="Seconds after which ChinaUMS not knowing a refund means that it never arrived.",
    )
    notice_waits_s: list[int] = Field(
        NOTICE_WAITS_S,
        min_length=1,
        max_length=50,
        description="Seconds before the 2nd, 3rd … attempt of a notice to a Dingdang partner.",
    )
    notice_count_max: int = Field(
        10, ge=1, le=100, description="Attempts of one such notice until it is given up and listed."
    )
    platform_calls_max: int = Field(
        8,
        ge=1,
        le=100,
        description="Calls to one host of ChinaUMS, or of Dingdang in all processes, in flight at once.",
    )

    def cross_check(self) -> Iterator[str]:
        """Networks are networks."""
        yield from super().cross_check()
        if not self.ledger_keys.reveal().strip():
            yield "ledger_keys: at least one key"
        yield from _statement_mistakes(self)
        for network in self.component_networks:
            try:
                opened(network)
            except ValueError:
                yield f"component_networks: {network} is no network, for example 192.168.7.0/24"
        if self.profile == "prod":
            for name in ("ums_window_s", "dingdang_window_s"):
                if getattr(self, name) > WINDOW_S_MAX:
                    yield f"{name}: at most {WINDOW_S_MAX} in the prod profile"


def _statement_mistakes(settings: PaySettings) -> Iterator[str]:
    lines = [one.strip() for one in settings.ledger_statement_keys.reveal().splitlines()]
    lines = [one for one in lines if one]
    prod = settings.profile == "prod"
    if not lines or lines[0].startswith(PUBLIC_KEY):
        yield "ledger_statement_keys: the first line is the secret that signs"
    for line in lines:
        if line.startswith(PUBLIC_KEY):
            if not PUBLIC_KEY_LINE.fullmatch(line):
                yield f"ledger_statement_keys: {PUBLIC_KEY} is followed by 32 bytes in base64"
        elif prod and len(line) < STATEMENT_KEY_CHARS_MIN:
            yield f"ledger_statement_keys: a secret has at least {STATEMENT_KEY_CHARS_MIN} characters"
    if prod and settings.ledger_statements_dir is None:
        yield "ledger_statements_dir: without it nothing finds a ledger that was cut or rewritten"
