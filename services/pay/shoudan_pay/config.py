"""The knobs of the pay service."""

from __future__ import annotations

from pydantic import Field

from shoudan_kit.config import ServiceSettings


class PaySettings(ServiceSettings):
    """Section [pay]."""

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
        0.002,
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
        ["down_commission", "down_service", "up_channel", "up_commission", "up_service"],
        description="Groups whose new accounts may go below zero; all others are limited by credit.",
    )
    verify_page_rows: int = Field(
        5000,
        ge=100,
        le=50_000,
        description="Records one statement of a verification reads; far below the statement time-out.",
    )
