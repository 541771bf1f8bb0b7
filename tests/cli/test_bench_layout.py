"""What a benched system is made of: its maps fit the services, its catalogue is applied like any other."""

from __future__ import annotations

from pathlib import Path

from shoudan_cli.bench_layout import Layout
from shoudan_cli.document import load
from shoudan_cli.load import Load
from shoudan_cli.wiring import LOOPBACK, choose_ports, replica, target
from shoudan_kit.db.shard_map import read

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


def test_a_repeat_of_an_order_goes_to_the_same_channel() -> None:
    load = Load(["http://127.0.0.1:1"], 9, ["a", "b", "c"])
    numbers = [load._next() for _ in range(6)]
    asked = [load._request(number) for number in numbers]
    assert [one.split(b"channel_no=")[1][:1] for one in asked] == [b"b", b"c", b"a"] * 2
    assert load._request(numbers[0]) == asked[0]


def test_clients_know_all_replicas_and_none_shares_a_port() -> None:
    ports = choose_ports(None, usual=False, replicas=3)
    assert len(set(ports.numbers.values())) == len(ports.numbers)
    addresses = [f"{LOOPBACK}:{ports[replica('pay', one)]}" for one in (1, 2, 3)]
    assert target(ports, "pay", 3) == f"ipv4:{','.join(addresses)}"
    assert target(ports, "pay") == addresses[0]
