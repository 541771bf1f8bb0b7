"""Promises of the ERP database: it takes no document that cannot be, whoever writes it."""

from __future__ import annotations

from shoudan_kit.embedded import Postgres
from tests.erp_ingest.harness import REFUND, ErpHarness, body, refund, trade
from tests.kept import CHECK, NO_RIGHT, not_refused

BROKEN = (
    ("UPDATE push SET status = 7", CHECK),
    ("UPDATE push SET why = 'x'", CHECK),
    ("UPDATE push SET sealed = NULL", CHECK),
    ("UPDATE push SET size = 1", NO_RIGHT),
    ("UPDATE push SET kind = 2", NO_RIGHT),
    ("UPDATE push SET sender = 'x'", NO_RIGHT),
    ("UPDATE push SET create_time = now()", NO_RIGHT),
    ("UPDATE trade SET version = 0", CHECK),
    ("UPDATE trade SET document_id = 1", NO_RIGHT),
    ("UPDATE trade SET customerid = 'x'", NO_RIGHT),
    ("UPDATE trade SET create_time = now()", NO_RIGHT),
    ("UPDATE trade_line SET document_id = 1", NO_RIGHT),
    ("UPDATE payment SET payment_no = 9", NO_RIGHT),
    ("UPDATE refund SET version = -1", CHECK),
    ("UPDATE refund SET create_time = now()", NO_RIGHT),
    ("UPDATE refund SET app_key = 'x'", NO_RIGHT),
    ("UPDATE refund_line SET line_no = 9", NO_RIGHT),
    ("UPDATE swap_line SET line_no = 9", NO_RIGHT),
    ("INSERT INTO phone_index VALUES ('x', 7, 1)", CHECK),
    ("UPDATE phone_index SET document_id = 1", NO_RIGHT),
    ("INSERT INTO payment (document_id, payment_no) VALUES (1, 0)", "23503"),
    ("INSERT INTO history VALUES (1, 7, 1, 1, false, 1, '{}', now())", CHECK),
    ("UPDATE history SET version = 9", NO_RIGHT),
    ("INSERT INTO audit VALUES (1, 'erase', 9, 0, 'x', 'x', 'x', 1, now())", CHECK),
    ("UPDATE audit SET actor = 'x'", NO_RIGHT),
    ("UPDATE event SET text = ''", NO_RIGHT),
    ("DELETE FROM trade", NO_RIGHT),
    ("DELETE FROM refund", NO_RIGHT),
    ("DELETE FROM history", NO_RIGHT),
    ("DELETE FROM audit", NO_RIGHT),
    ("DELETE FROM event", NO_RIGHT),
)


async def test_no_broken_document_is_stored(postgres: Postgres, harness: ErpHarness) -> None:
    await harness.push(body(trade()))
    await harness.push(body(refund()), kind=REFUND)
    assert await not_refused(postgres, harness.urls, BROKEN) == []
