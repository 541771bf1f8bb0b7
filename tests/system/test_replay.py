"""The same traffic at two builds: the same build lists nothing, one changed line is found."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import aiohttp
import pytest

from shoudan_cli import replay, replayed
from shoudan_cli.replay import FOLDERS, play
from shoudan_cli.replayed import Play

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
ORDER = {
    "channel_no": "test", "line_id": "1", "carrier_no": "ZSH", "face": "200", "amount": "198", "num": "1",
    "invoice_type": "1", "rechage_account": "100011000000000", "notify_url": "inbox",
}  # fmt: skip
VOUCHER = {**ORDER, "line_id": "2", "carrier_no": "DZQ", "face": "50", "amount": "47.5"}
BACK = {"channel_no": "test", "refund_no": "b", "refund_num": "1", "notify_url": "inbox"}
REQUESTS = [
    {"at_ms": at_ms, "method": "GET", "path": path, "params": params}
    for at_ms, path, params in (
        (0, "/order/request", {**ORDER, "request_no": "card"}),
        (100, "/order/request", {**VOUCHER, "request_no": "voucher"}),
        (2_000, "/order/query", {"channel_no": "test", "request_no": "card"}),
        (4_000, "/refund/general", {**BACK, "request_no": "voucher"}),
    )
]
LINE = "        -delivery.cost_amount_micros,\n"


def with_a_changed_line(place: Path) -> Path:
    """This checkout, but that a supplier is paid a hundred-thousandth of a yuan more."""
    (place / "services").mkdir(parents=True)
    for name in ("demo", *FOLDERS):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).symlink_to(ROOT / name)
    for service in (ROOT / "services").iterdir():
        if service.name != "order":
            (place / "services" / service.name).symlink_to(service)
    shutil.copytree(ROOT / "services/order", place / "services/order")
    file = place / "services/order/shoudan_order/transfers.py"
    text = file.read_text("utf-8")
    assert text.count(LINE) == 1
    file.write_text(text.replace(LINE, LINE.replace(",", " - 10,")), "utf-8")
    return place


async def test_one_changed_line_is_found_and_the_same_build_lists_nothing(
    system, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(replayed, "END_S", 0)  # the clock of the other tests stays
    async with aiohttp.ClientSession() as http:
        old = await Play(system, http, "once-").of(REQUESTS)
        again = await Play(system, http, "again-").of(REQUESTS)
    assert replayed.differences(old, again, old) == {}
    assert {key.partition(" ")[0] for key in old} == {"answer", "notify", "posting"}
    recording = tmp_path / "recording.json"
    recording.write_text(json.dumps({"format": replay.FORMAT, "requests": REQUESTS}), "utf-8")
    build = await asyncio.to_thread(with_a_changed_line, tmp_path / "build")
    new = await asyncio.to_thread(play, recording, build, None)
    assert replayed.differences(old, new, again) == {
        "posting up_channel ycup card part 1: micros": (-190_000_000, -190_000_010),
        "posting up_channel ycup voucher part 1: micros": (-45_000_000, -45_000_010),
    }
