"""Copies of a sample: what holds its moment moves, each in its place, and no two copies share a number."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from shoudan.order.v1 import events_pb2
from shoudan_cli import stored
from shoudan_cli.bench_layout import HASTY, HASTY_S, Layout
from shoudan_cli.clients import Failed
from shoudan_cli.stored_rows import COUNT, LENGTH, NULL, Sample, Template, Text, Window, varint
from shoudan_configuration.document import load
from shoudan_kit.ids import TIME_SHIFT, first_of, time_of
from shoudan_kit.secrets.sealing import KeyRing, SealedColumn
from shoudan_kit.secrets.sealing_settings import DEMO_INDEX_KEY, DEMO_KEYS

BEGAN = datetime(2026, 12, 1, 4, tzinfo=UTC)
WINDOW = Window.between(BEGAN, BEGAN + timedelta(seconds=5))
ORDER = WINDOW.first + 77
ELSEWHERE = first_of(BEGAN - timedelta(days=400))
DAY_MS = 86_400_000
BACK = -DAY_MS << TIME_SHIFT


def test_copies_are_spread_over_the_days_and_touch_neither_each_other_nor_the_sample() -> None:
    shifts = stored.shifts_ms(WINDOW, 100, 30)
    assert len(shifts) == 100
    assert shifts == sorted(shifts)
    assert shifts[0] == pytest.approx(-30 * DAY_MS, rel=0.001)
    many = stored.shifts_ms(WINDOW, 10_000_000, 1)  # more than fit a day
    assert {b - a for a, b in pairwise(many[:9])} == {WINDOW.span_ms + stored.GAP_MS}
    assert many[-1] == -(WINDOW.span_ms + stored.GAP_MS)
    assert stored.shifts_ms(WINDOW, 0, 30) == []


def test_numbers_move_wherever_they_stand_and_others_stay() -> None:
    value = f"S{ORDER} of {ELSEWHERE}, {ORDER}7, 198".encode()
    assert Text(value, WINDOW).at(BACK) == f"S{ORDER + BACK} of {ELSEWHERE}, {ORDER}7, 198".encode()
    body = events_pb2.OrderChanged(
        order_id=ORDER,
        channel_no="测试渠道",
        request_no=str(ORDER + 1),
        success_face_micros=200_000_000,
        delivery_id=ORDER + 2,
    )
    moved = Text(body.SerializeToString(), WINDOW, protobuf=True).at(BACK)
    wanted = events_pb2.OrderChanged.FromString(moved)
    assert (wanted.order_id, wanted.delivery_id) == (ORDER + BACK, ORDER + 2 + BACK)
    assert (wanted.request_no, wanted.channel_no) == (str(ORDER + 1 + BACK), body.channel_no)
    assert wanted.success_face_micros == body.success_face_micros
    assert time_of(wanted.order_id) == time_of(ORDER) - timedelta(days=1)


@pytest.mark.parametrize("number", [1 << 56, ORDER, 2**63 - 1])
def test_a_number_is_written_as_protobuf_writes_it(number: int) -> None:
    body = events_pb2.OrderChanged(order_id=number).SerializeToString()
    assert body[1:] == varint(number)


def test_a_row_is_copied_with_its_moments_and_its_account_sealed_for_its_own_number() -> None:
    seals = SealedColumn("oms_order_info", KeyRing.parse(DEMO_KEYS, DEMO_INDEX_KEY))
    account = seals.seal(ORDER, "100011000000000").encode()
    row = [
        struct.pack(">q", ORDER),
        struct.pack(">q", 198_000_000),
        struct.pack(">q", 5_000_000),
        None,
        account,
        b"\x00\x0a",
    ]
    types = ["bigint", "bigint", *["timestamp with time zone"] * 2, "text", "smallint"]
    sample = Sample("oms_order_info", list("abcdef"), types, 0, [row])
    made = Template(sample, WINDOW, seals).at(-DAY_MS)
    assert COUNT.unpack_from(made)[0] == len(row)
    long = struct.Struct(">iq")
    found = [long.unpack_from(made, COUNT.size + at * long.size)[1] for at in range(3)]
    assert found == [ORDER + BACK, 198_000_000, 5_000_000 - 86_400 * 10**6]
    rest = made[COUNT.size + 3 * long.size :]
    assert rest.startswith(NULL)
    length = LENGTH.unpack_from(rest, len(NULL))[0]
    text = rest[len(NULL) + LENGTH.size :][:length].decode()
    assert seals.open(ORDER + BACK, text) == "100011000000000"
    assert rest.endswith(LENGTH.pack(2) + b"\x00\x0a")


def test_days_in_which_numbers_had_fewer_digits_are_refused() -> None:
    late = datetime(2027, 8, 1, tzinfo=UTC)  # nineteen digits, eighteen until July
    window = Window.between(late, late + timedelta(seconds=5))
    window.check(-DAY_MS)
    with pytest.raises(Failed, match="fewer days"):
        window.check(-60 * DAY_MS)


def test_the_sample_is_of_all_channels_and_one_order_in_it_is_in_too_much_of_a_hurry(
    tmp_path,
) -> None:
    layout = Layout(channels=5, stored=100)
    numbers = [str(ORDER + at) for at in range(stored.SAMPLE)]
    orders = stored.sample(layout.names, numbers, "http://127.0.0.1:1/inbox/x")
    assert {one["channel_no"] for one in orders} == {*layout.names, HASTY}
    assert [one["request_no"] for one in orders] == numbers
    assert stored.REFUNDED in stored.OTHERS
    document = load(layout.catalogue(tmp_path), {"SHOUDAN_SANDBOX_URL": "http://127.0.0.1:1"})
    (shelf,) = next(one for one in document.down_channels if one.channel_no == HASTY).shelves
    assert shelf.order_overtime_s == HASTY_S
    plain = load(Layout().catalogue(tmp_path), {"SHOUDAN_SANDBOX_URL": "http://127.0.0.1:1"})
    assert HASTY not in {one.channel_no for one in plain.down_channels}
