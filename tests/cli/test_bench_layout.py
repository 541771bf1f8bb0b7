"""What a benched system is made of: its maps fit the services, its catalogue is applied like any other."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from shoudan_cli import bench, bench_lifecycle
from shoudan_cli.bench import differences
from shoudan_cli.bench_layout import Layout
from shoudan_cli.bench_lifecycle import _batch_sizes
from shoudan_cli.load import Load, sequence_of
from shoudan_cli.wiring import LOOPBACK, choose_ports, replica, target
from shoudan_configuration.document import load
from shoudan_kit.db.shard_map import read
from shoudan_kit.process.replicas import Look
from tests.poll import eventually

URLS = ("postgresql://a@h/d", "postgresql://b@h/d")


def test_one_of_everything_is_the_demonstration(tmp_path: Path) -> None:
    one = Layout()
    assert one.environment(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []
    assert one.catalogue(tmp_path).parent != tmp_path


def test_the_map_has_all_shards_on_the_services_own_server(tmp_path: Path) -> None:
    env = Layout(shards=16).environment(tmp_path)
    assert env["SHOUDAN_DB_POOL_SIZE"] == "64"
    found = read(Path(env["SHOUDAN_ORDER_SHARDS"]), *URLS, owner=True)
    assert [home.shard for home in found.homes] == list(range(16))
    assert {home.url for home in found.homes} == {URLS[0]}


def test_all_processes_together_stay_below_what_the_server_takes() -> None:
    layout = Layout(shards=64, replicas=4)
    assert layout.connections > 4 * 64 * 4  # processes of four services


def test_each_channel_sells_what_the_first_one_sells(tmp_path: Path) -> None:
    layout = Layout(channels=3)
    document = load(layout.catalogue(tmp_path), {"SHOUDAN_SANDBOX_URL": "http://127.0.0.1:1"})
    channels = {one.channel_no: one for one in document.down_channels}
    assert set(layout.names) <= set(channels)
    sold = [channels[name].shelves[0].products[0] for name in layout.names]
    assert len({(one.line_id, one.carrier_no, one.face) for one in sold}) == 1
    assert len({one.product_id for one in sold}) == len(layout.names)


def test_with_rules_every_line_chooses_by_outcome(tmp_path: Path) -> None:
    found = load(
        Layout(rules=True).catalogue(tmp_path), {"SHOUDAN_SANDBOX_URL": "http://127.0.0.1:1"}
    )
    plain = load(Layout().catalogue(tmp_path), {"SHOUDAN_SANDBOX_URL": "http://127.0.0.1:1"})
    assert {one.route_policy for one in found.lines} == {"outcome"}
    assert {one.route_policy for one in plain.lines} != {"outcome"}
    assert [one.line_id for one in found.lines] == [one.line_id for one in plain.lines]


def test_each_supplier_delivers_a_face_of_its_own_that_every_channel_sells(tmp_path: Path) -> None:
    layout = Layout(channels=2, suppliers=5)
    found = load(layout.catalogue(tmp_path), {"SHOUDAN_SANDBOX_URL": "http://127.0.0.1:1"})
    sellers: dict[int, set[str]] = {}
    for channel in found.up_channels:
        for product in channel.shelves[0].products:
            if (
                product.line_id == 1
                and product.carrier_no == "ZSH"
                and product.province_no in {"", "*"}
            ):
                sellers.setdefault(product.face // 10**6, set()).add(channel.channel_no)
    for face in layout.faces[1:]:
        assert sellers[face] == {f"up-{face}"}
        assert f"up-{face}" in {one.channel_no for one in found.suppliers}
    for channel in found.down_channels:
        if channel.channel_no in layout.names:
            sold = {one.face // 10**6 for one in channel.shelves[0].products}
            assert set(layout.faces) <= sold
    numbers = [p.product_id for c in found.down_channels for s in c.shelves for p in s.products]
    assert len(numbers) == len(set(numbers))


def test_orders_are_of_all_faces_at_their_price() -> None:
    load = Load(["http://127.0.0.1:1"], 9, ["a"], faces=[200, 201, 300])
    asked = [load._request(load._next()) for _ in range(6)]
    wanted = [b"&face=201&amount=198.99", b"&face=300&amount=297", b"&face=200&amount=198"] * 2
    assert [price in one for price, one in zip(wanted, asked, strict=True)] == [True] * 6


def test_by_zipf_the_first_channels_order_most_and_a_repeat_is_the_same_order() -> None:
    names = [f"c{number}".encode() for number in range(1, 1001)]
    found = Counter(sequence_of(names, 1.0))
    assert sequence_of(names, 1.0) == sequence_of(names, 1.0)
    assert found[b"c1"] == pytest.approx(10 * found[b"c10"], rel=0.2)  # by its place
    assert found[b"c1"] / found.total() == pytest.approx(
        1 / 7.485, rel=0.1
    )  # of 1 + 1/2 + … 1/1000
    assert sequence_of(names, 0) == names


@pytest.mark.parametrize("text", ["x", "0", "1,,2", "-1"])
def test_a_curve_of_no_numbers_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        bench.in_flights(text)


def test_a_curve_has_a_line_for_each_number_in_flight() -> None:
    one = {
        "lifecycles_per_s": 5.5,
        "cpu_us_per_order": {"total": 900.0},
        "p50_ms": 1.0,
        "p99_ms": 2.0,
    }
    found = bench.curve_of(
        {n: one | {"batch_sizes": {"pay": float(n)}} for n in bench.in_flights("1,64")}
    )
    assert [line.split() for line in found[1:]] == [
        [n, "5.5", "900.0", "1.0", "2.0", "pay", f"{n}.0"] for n in ("1", "64")
    ]


def test_too_many_products_are_refused_before_a_system_is_started() -> None:
    words = ["lifecycle", "--channels", "1000", "--suppliers", "1000"]
    assert CliRunner().invoke(bench.app, words).exit_code == 2


def test_a_repeat_of_an_order_goes_to_the_same_channel() -> None:
    load = Load(["http://127.0.0.1:1"], 9, ["a", "b", "c"])
    numbers = [load._next() for _ in range(6)]
    asked = [load._request(number) for number in numbers]
    assert [one.split(b"channel_no=")[1][:1] for one in asked] == [b"b", b"c", b"a"] * 2
    assert load._request(numbers[0]) == asked[0]


async def test_with_a_rate_orders_are_due_at_their_times() -> None:
    load, stop = Load(["http://127.0.0.1:1"], 9, ["a"], rate=500), asyncio.Event()
    assert load._next() == b""
    making = asyncio.ensure_future(load._make_due(stop))
    await eventually(
        lambda: load.tally.placed > 20
    )  # though nobody answers, and more than in flight
    stop.set()
    await making
    began = list(load._began.values())
    assert [round(b - a, 6) for a, b in pairwise(began)] == [0.002] * (len(began) - 1)
    assert [load._next() for _ in began] == list(load._began)
    assert load._next() == b""


def test_differences_are_of_the_numbers_that_both_have() -> None:
    before = {"rate": 100.0, "cpu": {"order": 50, "new": {}}, "checks": True, "gone": 1, "none": 0}
    now = {"rate": 150.0, "cpu": {"order": 25, "new": 3}, "checks": True, "more": 2, "none": 1}
    found = [line.split() for line in differences(before, now)]
    assert found == [
        ["rate", "100.0", "150.0", "+50.0%"],
        ["cpu.order", "50", "25", "-50.0%"],
        ["none", "0", "1"],
    ]


def test_alone_it_prints_a_rate_and_a_time_at_half_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def measured(*_: object, rate: float = 0) -> SimpleNamespace:
        return SimpleNamespace(lifecycles_per_s=900.0, p50_ms=rate, p99_ms=2 * rate)

    monkeypatch.setattr(bench_lifecycle, "bench", measured)
    lines = CliRunner().invoke(bench.app, []).stdout.splitlines()
    assert lines == ["900 orders/s", "450 ms, p99 900 ms, at 450 orders/s"]


def test_batches_are_those_between_two_looks() -> None:
    def looks(count: float, total: float) -> list[Look]:
        labels = frozenset({("name", "pay")})
        ends = {"count": count, "sum": total}
        samples = {f"shoudan_batch_size_{end}": {labels: value} for end, value in ends.items()}
        return [Look("order", "a", "serving", 0, samples=samples)] * 2

    assert _batch_sizes(looks(10, 10), looks(20, 260)) == {"pay": 25.0}
    assert _batch_sizes(looks(10, 10), looks(10, 10)) == {}


def test_clients_know_all_replicas_and_none_shares_a_port() -> None:
    ports = choose_ports(None, usual=False, replicas=3)
    assert len(set(ports.numbers.values())) == len(ports.numbers)
    addresses = [f"{LOOPBACK}:{ports[replica('pay', one)]}" for one in (1, 2, 3)]
    assert target(ports, "pay", 3) == f"ipv4:{','.join(addresses)}"
    assert target(ports, "pay") == addresses[0]
