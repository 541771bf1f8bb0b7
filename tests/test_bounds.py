"""Each pair of a common bound and a party's (docs/bounds.md) is in its right order."""

from __future__ import annotations

from pathlib import Path

from shoudan_delivery.config import DeliverySettings
from shoudan_delivery.kinds import ASK, REQUEST
from shoudan_gateway.config import GatewaySettings
from shoudan_gateway.server import shares
from shoudan_kit.http import resolver
from shoudan_kit.tasks.worker import MEMORY_MAX
from shoudan_order import notifies
from shoudan_order.config import OrderSettings
from shoudan_pay.config import PaySettings
from shoudan_pay.dingdang import notices
from shoudan_pay.dingdang.kinds import SEND_NOTICE
from shoudan_pay.payserver import polling
from shoudan_pay.payserver.kinds import ASK_PAY, ASK_REFUND

PAGE = (Path(__file__).parents[1] / "docs/bounds.md").read_text()


def default(settings: type, name: str) -> int:
    """The default of a setting."""
    return settings.model_fields[name].default


def most(settings: type, name: str) -> int:
    """The most a setting may be."""
    return next(one.le for one in settings.model_fields[name].metadata if hasattr(one, "le"))


def test_a_channels_notifies_are_bounded_below_all_notifies_and_a_hosts_below_its_channels() -> (
    None
):
    assert most(OrderSettings, "notify_channel_calls_max") < notifies.IN_FLIGHT_MAX
    host, channel = (
        default(OrderSettings, name)
        for name in ("notify_host_calls_max", "notify_channel_calls_max")
    )
    assert host <= channel
    assert notifies.HOST_WAITING_MAX * 3 < notifies.WAITING_MAX


def test_notifies_never_fill_the_memory_of_the_worker() -> None:
    assert (notifies.WAITING_MAX + notifies.IN_FLIGHT_MAX) * 2 < MEMORY_MAX


def test_a_caller_never_takes_all_places_of_the_gateway() -> None:
    for total in (2, 4, 2_000):
        limits = shares(GatewaySettings(requests_in_flight_max=total, caller_in_flight_max=5_000))
        assert limits.party_max < limits.total_max
    assert default(GatewaySettings, "caller_in_flight_max") < default(
        GatewaySettings, "requests_in_flight_max"
    )


def test_suppliers_are_bounded_each_by_itself_as_the_page_says() -> None:
    """What they do to each other: `tests/delivery/test_bulkheads.py`."""
    (calls, tasks) = (line for line in PAGE.splitlines() if line.startswith("| delivery:"))
    assert f"`query_concurrency_max` {default(DeliverySettings, 'query_concurrency_max')} " in calls
    assert "`send_queue_max`" in calls
    assert "send_queue_max" in DeliverySettings.model_fields
    assert f"`parallel` {REQUEST.parallel} and {ASK.parallel} " in tasks


def test_an_address_is_bounded_below_all_addresses() -> None:
    for each, all_ in (
        ("unread_bodies_per_address_max", "unread_bodies_max"),
        ("connections_per_address_max", "connections_max"),
    ):
        assert default(GatewaySettings, each) < default(GatewaySettings, all_)


def test_one_component_never_takes_all_places_for_questions() -> None:
    assert polling.BOUNDS.group_max < polling.BOUNDS.total_max
    assert polling.BOUNDS.total_max < min(ASK_PAY.parallel, ASK_REFUND.parallel)


def test_one_domain_never_takes_all_places_for_notices() -> None:
    for calls_max in (
        default(PaySettings, "platform_calls_max"),
        most(PaySettings, "platform_calls_max"),
    ):
        limits = notices.bounds(calls_max)
        assert limits.group_max < limits.total_max < SEND_NOTICE.parallel


def test_one_domain_never_takes_all_threads_of_look_ups() -> None:
    assert resolver.DOMAIN_MAX * 4 < resolver.THREADS_MAX
