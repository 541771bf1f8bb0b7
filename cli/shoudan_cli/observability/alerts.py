"""What Prometheus records and when it alerts: the table that rules, their tests and pages are made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

RUNBOOK: Final = "docs/operations.md"
NOTIFIED_S: Final = 60  # an order's partner knows the result within; a bucket of the histogram
DELAY_S: Final = 30  # from an order's end to the answer of its first notify

Severity = Literal["page", "message"]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A figure that Prometheus computes: a service level, or what a board draws."""

    name: str
    expression: str
    objective: float | None = None  # of a service level, as a share


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert, what to do is said under its name in docs/operations.md.

    `fires` are series with values by the minute (promtool's notation) under which it fires after `minutes`.
    """

    name: str
    expression: str
    minutes: int  # it must hold for so long
    severity: Severity
    summary: str
    fires: tuple[tuple[str, str], ...]

    @property
    def anchor(self) -> str:
        """Where the runbook speaks of it."""
        return f"{RUNBOOK}#{self.name.lower()}"


def _within(metric: str, seconds: int) -> str:
    return f'sum(rate({metric}_bucket{{le="{seconds}.0"}}[30m])) / sum(rate({metric}_count[30m]))'


RECORDED: Final = (
    Recorded(
        "shoudan:order_notified:ratio30m",
        _within("shoudan_order_notified_seconds", NOTIFIED_S),
        0.99,
    ),
    Recorded(
        "shoudan:order_success:ratio30m",
        'sum(rate(shoudan_order_notified_seconds_count{outcome="success"}[30m]))'
        " / sum(rate(shoudan_order_notified_seconds_count[30m]))",
        0.95,
    ),
    Recorded(
        "shoudan:notify_delay:ratio30m", _within("shoudan_notify_delay_seconds", DELAY_S), 0.99
    ),
    Recorded("shoudan:orders:rate5m", "sum(rate(shoudan_order_notified_seconds_count[5m]))"),
    Recorded(
        "shoudan:http_errors:ratio5m",
        'sum(rate(shoudan_http_seconds_count{code=~"5.."}[5m])) / sum(rate(shoudan_http_seconds_count[5m]))',
    ),
)

_NOTIFIED: Final = "shoudan_order_notified_seconds"
_DELAY: Final = "shoudan_notify_delay_seconds"

ALERTS: Final = (
    Alert(
        "LawBroken",
        "max by (service, law) (shoudan_law_broken) > 0",
        0,
        "page",
        "Something stored breaks a law of the system: a fault of ours, or somebody's hand.",
        (('shoudan_law_broken{service="order",law="order_ends_once"}', "1x60"),),
    ),
    Alert(
        "LawUnseen",
        "min by (service, law) (increase(shoudan_law_looks_failed_total[10m])) > 10",
        10,
        "message",
        "A law could not be looked at for ten minutes.",
        (('shoudan_law_looks_failed_total{service="order",law="order_ends_once"}', "0+3x60"),),
    ),
    Alert(
        "LineSilent",
        "sum by (line) (increase(shoudan_orders_taken_total[1h] offset 30m)) > 60"
        " unless sum by (line) (increase(shoudan_orders_taken_total[30m])) > 0",
        1,
        "message",
        "No order for half an hour on a line that had more than one a minute.",
        (('shoudan_orders_taken_total{service="order",line="1"}', "0+10x8 80x60"),),
    ),
    Alert(
        "CardsLow",
        "max(shoudan_card_kinds_low) > 0",
        10,
        "message",
        "Cards of our own stock run out.",
        (("shoudan_card_kinds_low", "1x60"),),
    ),
    Alert(
        "SupplierBalanceLow",
        "max(shoudan_suppliers_balance_low) > 0",
        2,
        "message",
        "Too little of our money is left at a supplier: its channel is held.",
        (("shoudan_suppliers_balance_low", "1x60"),),
    ),
    Alert(
        "OrdersSlow",
        "shoudan:order_notified:ratio30m < 0.99",
        10,
        "page",
        f"Fewer than 99 % of orders are notified within {NOTIFIED_S} s.",
        (
            (f'{_NOTIFIED}_bucket{{le="60.0",outcome="success"}}', "0+9x60"),
            (f'{_NOTIFIED}_count{{outcome="success"}}', "0+10x60"),
        ),
    ),
    Alert(
        "OrdersFail",
        "shoudan:order_success:ratio30m < 0.95",
        10,
        "page",
        "More than 5 % of orders fail.",
        (
            (f'{_NOTIFIED}_count{{outcome="success"}}', "0+9x60"),
            (f'{_NOTIFIED}_count{{outcome="failed"}}', "0+1x60"),
        ),
    ),
    Alert(
        "NotifiesLate",
        "shoudan:notify_delay:ratio30m < 0.99",
        10,
        "message",
        f"More than 1 % of first notifies are answered later than {DELAY_S} s after the order ended.",
        (
            (f'{_DELAY}_bucket{{le="30.0",outcome="acknowledged"}}', "0+9x60"),
            (f'{_DELAY}_count{{outcome="acknowledged"}}', "0+10x60"),
        ),
    ),
    Alert(
        "ReplicaAway",
        'up{job="shoudan"} == 0',
        2,
        "page",
        "A process does not answer.",
        (('up{job="shoudan",instance="order:9090"}', "0x60"),),
    ),
    Alert(
        "GatewayErrors",
        "shoudan:http_errors:ratio5m > 0.001",
        5,
        "page",
        "More than 0.1 % of requests are answered with 5xx.",
        (
            ('shoudan_http_seconds_count{code="500"}', "0+1x60"),
            ('shoudan_http_seconds_count{code="200"}', "0+99x60"),
        ),
    ),
    Alert(
        "InternalErrors",
        'sum by (service, method) (increase(shoudan_rpc_server_seconds_count{code="INTERNAL"}[5m])) > 0',
        0,
        "message",
        "A call ended with an unforeseen error.",
        (
            (
                'shoudan_rpc_server_seconds_count{code="INTERNAL",method="/x",service="order"}',
                "0+1x60",
            ),
        ),
    ),
    Alert(
        "EndpointOff",
        'sum(increase(shoudan_endpoint_alerts_total{what="off"}[1h])) > 0',
        1,
        "message",
        "An endpoint of a channel was switched off: it has not acknowledged for long.",
        (('shoudan_endpoint_alerts_total{what="off"}', "0+1x60"),),
    ),
    Alert(
        "EndpointFailing",
        'sum(increase(shoudan_endpoint_alerts_total{what="alert"}[1h])) > 0',
        1,
        "message",
        "An endpoint of a channel reached 50, 70, 90 or 100 % of the failures that switch it off.",
        (('shoudan_endpoint_alerts_total{what="alert"}', "0+1x60"),),
    ),
    Alert(
        "TasksDead",
        "max by (service, kind) (shoudan_tasks_dead) > 0",
        5,
        "message",
        "Tasks are past their deadline or count.",
        (('shoudan_tasks_dead{service="order",kind="order.notify"}', "3x60"),),
    ),
    Alert(
        "TasksLate",
        "max by (service, kind) (shoudan_tasks_due_age_seconds) > 60",
        5,
        "page",
        "Due tasks wait for more than a minute.",
        (('shoudan_tasks_due_age_seconds{service="order",kind="order.pay"}', "90x60"),),
    ),
    Alert(
        "EventsLate",
        "max by (service) (shoudan_outbox_lag_seconds) > 60",
        5,
        "message",
        "Events do not reach NATS.",
        (('shoudan_outbox_lag_seconds{service="order"}', "90x60"),),
    ),
    Alert(
        "OrdersParked",
        "max(shoudan_orders_parked) > 0",
        10,
        "message",
        "Orders wait for a person.",
        (("shoudan_orders_parked", "1x60"),),
    ),
    Alert(
        "OrdersParkedMany",
        "max(shoudan_orders_parked) > 20",
        0,
        "page",
        "Many orders wait for a person: a supplier does not answer.",
        (("shoudan_orders_parked", "21x60"),),
    ),
    Alert(
        "SoldAtALoss",
        "sum by (line) (increase(shoudan_orders_at_loss_total[10m])) > 0",
        0,
        "message",
        "Orders of a line are bought for more than they sell for.",
        (('shoudan_orders_at_loss_total{service="order",line="1"}', "0+1x60"),),
    ),
    Alert(
        "OpenWork",
        "max by (service, kind) (shoudan_open_work) > 0",
        10,
        "message",
        "Something waits for a person's decision.",
        (('shoudan_open_work{service="pay",kind="notice"}', "1x60"),),
    ),
    Alert(
        "OpenWorkMany",
        'max by (service, kind) (shoudan_open_work{kind=~"pay|refund|ums_refund"}) > 20',
        0,
        "page",
        "Many pays or refunds have no known end.",
        (('shoudan_open_work{service="pay",kind="pay"}', "21x60"),),
    ),
    Alert(
        "WorkWaitsLong",
        "max by (service, kind) (shoudan_open_work_age_seconds) > 14400"
        " or max by (service) (shoudan_orders_parked_age_seconds) > 14400"
        " or max by (service) (shoudan_open_proposals_age_seconds) > 14400",
        0,
        "message",
        "Something has waited for a person for four hours.",
        (('shoudan_open_work_age_seconds{service="pay",kind="pay"}', "15000x60"),),
    ),
    Alert(
        "SupplierTripped",
        "max by (channel) (shoudan_breaker_state) == 1",
        10,
        "message",
        "A supplier's breaker is open.",
        (('shoudan_breaker_state{channel="ycup"}', "1x60"),),
    ),
    Alert(
        "BatchesRefused",
        "sum by (service, name) (increase(shoudan_batch_refused_total[5m])) > 0",
        2,
        "page",
        "Calls are refused because too many wait.",
        (('shoudan_batch_refused_total{service="gateway",name="CreateOrders"}', "0+10x60"),),
    ),
    Alert(
        "LedgerBroken",
        "min by (scope) (shoudan_ledger_invariant_ok) == 0",
        0,
        "page",
        "The last proof of the ledger found it not whole.",
        (('shoudan_ledger_invariant_ok{scope="all"}', "0x60"),),
    ),
    Alert(
        "LedgerNotProved",
        "time() - max by (scope) (shoudan_ledger_proved_timestamp_seconds) > 90000",
        0,
        "message",
        "The ledger was not proved for a day and an hour.",
        (('shoudan_ledger_proved_timestamp_seconds{scope="all"}', "-100000x60"),),
    ),
    Alert(
        "LedgerNotSealed",
        "time() - max by (scope) (shoudan_ledger_sealed_timestamp_seconds) > 90000",
        0,
        "message",
        "No statement of the ledger was sealed for a day and an hour.",
        (('shoudan_ledger_sealed_timestamp_seconds{scope="all"}', "-100000x60"),),
    ),
    Alert(
        "LedgerDayNotClosed",
        "time() - max by (scope) (shoudan_ledger_day_closed_timestamp_seconds) > 93600",
        0,
        "message",
        "The last accounting day that was closed ended 26 hours ago: the next one is not closed.",
        (('shoudan_ledger_day_closed_timestamp_seconds{scope="all"}', "-100000x60"),),
    ),
    Alert(
        "FinanceDayIncomplete",
        "max(shoudan_finance_day_incomplete_seconds) > 3600",
        0,
        "message",
        "A day that the ledger closed an hour ago is not complete in the books: it is in no bill.",
        (("shoudan_finance_day_incomplete_seconds", "4000x60"),),
    ),
    Alert(
        "ReconcileRunFailed",
        "max(shoudan_finance_sources_failed) > 0",
        10,
        "message",
        "A run of the reconciliation failed, and none after it has reconciled its source.",
        (("shoudan_finance_sources_failed", "1x60"),),
    ),
    Alert(
        "HeadsNotLogged",
        "time() - min(shoudan_ledger_heads_logged_timestamp_seconds) > 60",
        1,
        "message",
        "A pay process does not write the heads of its postings.",
        (("shoudan_ledger_heads_logged_timestamp_seconds", "-100x60"),),
    ),
    Alert(
        "AuditLogUnsealed",
        "max by (service) (shoudan_audit_log_unsealed_age_seconds) > 60",
        5,
        "message",
        "Rows of the audit log are not sealed.",
        (('shoudan_audit_log_unsealed_age_seconds{service="pay"}', "90x60"),),
    ),
    Alert(
        "PartsMissing",
        "max by (service, table) (shoudan_parts_missing) > 0"
        " or max by (service, table) (shoudan_parts_rest_bytes) > 0",
        10,
        "message",
        "Months of this and the next two have no part.",
        (('shoudan_parts_missing{service="order",table="event"}', "1x60"),),
    ),
    Alert(
        "ShardAway",
        "min by (service, shard) (shoudan_shard_up) == 0",
        1,
        "page",
        "A shard of a service cannot be worked on.",
        (('shoudan_shard_up{service="erp_ingest",shard="3"}', "0x60"),),
    ),
    Alert(
        "ShardMapRefused",
        "max by (service, replica) (shoudan_shard_map_refused) == 1",
        1,
        "message",
        "A process refuses the map of shards in its file and goes on with the one of before.",
        (('shoudan_shard_map_refused{service="erp_ingest",replica="a"}', "1x60"),),
    ),
    Alert(
        "ShardMapsDiffer",
        "max by (service) (shoudan_shard_map_epoch) > min by (service) (shoudan_shard_map_epoch)",
        10,
        "message",
        "Processes of a service follow maps of different epochs.",
        (
            ('shoudan_shard_map_epoch{service="erp_ingest",replica="a"}', "1x60"),
            ('shoudan_shard_map_epoch{service="erp_ingest",replica="b"}', "2x60"),
        ),
    ),
    Alert(
        "CertificateEnds",
        "min by (service, replica) (shoudan_certificate_expires_timestamp_seconds) - time() < 259200",
        10,
        "page",
        "A certificate ends within three days.",
        (
            (
                'shoudan_certificate_expires_timestamp_seconds{service="order",replica="a"}',
                "1000x60",
            ),
        ),
    ),
    Alert(
        "VersionsMixed",
        "count by (service) (count by (service, version) (shoudan_build_info)) > 1",
        60,
        "message",
        "Two versions of a service have run side by side for an hour.",
        (
            ('shoudan_build_info{service="order",version="1",replica="a"}', "1x130"),
            ('shoudan_build_info{service="order",version="2",replica="b"}', "1x130"),
        ),
    ),
    Alert(
        "SpansLost",
        'sum by (service) (increase(shoudan_spans_total{outcome="lost"}[5m])) > 0',
        10,
        "message",
        "The collector of spans is away.",
        (('shoudan_spans_total{service="order",outcome="lost"}', "0+10x60"),),
    ),
)
