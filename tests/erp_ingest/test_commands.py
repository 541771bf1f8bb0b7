"""Promises: an operator searches, tries again, reveals and erases by command; a refusal is one line."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass

from tests.erp_ingest.harness import REFUND, ErpHarness, body, refund, trade

PHONE = "13912345678"


@dataclass
class Told:
    """What a command said."""

    exit_code: int
    stdout: str
    stderr: str


async def command(harness: ErpHarness, *words: str) -> Told:
    target = f"127.0.0.1:{harness.process.port}"
    code = "from shoudan_erp_ingest.commands import app; app()"
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, *words, "--target", target, stdout=pipe, stderr=pipe
    )
    out, err = await process.communicate()
    return Told(process.returncode or 0, out.decode(), err.decode())


async def test_an_operator_sees_and_does_all_by_command(harness: ErpHarness) -> None:
    (stored, _) = await harness.push(body(trade(tid="T1", receiver_mobile=PHONE)), b"broken")
    await harness.push(body(refund(refund_no="R1")), kind=REFUND)
    since = ("--since", "2026-01-01T00:00:00+08:00")
    found = json.loads((await command(harness, "search", "--phone", PHONE, *since)).stdout)
    assert (found["document"]["tid"], found["document"]["receiver_mobile"]) == ("T1", "139****5678")
    for more in ([], ["--all"]):
        line = (await command(harness, "search", "--refunds", *more)).stdout
        assert json.loads(line)["document"]["refund_no"] == "R1"
    assert "char 0: not_json" in (await command(harness, "quarantined")).stdout
    assert "0 stored, 1 still" in (await command(harness, "reprocess")).stdout
    shown = (await command(harness, "reveal", found["id"], "--reason", "asked")).stdout
    assert json.loads(shown)["receiver_mobile"] == PHONE
    raw = await command(harness, "reveal", str(stored.push_id), "--push", "--reason", "asked")
    assert json.loads(raw.stdout)["data"]["tid"] == "T1"
    erased = await command(harness, "erase", PHONE, "--reason", "asked", "--yes")
    assert erased.stdout == "1 documents erased\n"


async def test_a_refusal_is_one_line_and_a_failure(harness: ErpHarness) -> None:
    told = await command(harness, "reveal", "1", "--reason", "asked")
    assert told.exit_code == 1
    assert "ERROR_REASON_NOT_FOUND" in told.stderr
    assert told.stderr.count("\n") == 1
