"""Promises of the pay database: it takes no record, pay or refund that cannot be, whoever writes it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from shoudan_kit.embedded import DatabaseUrls, Postgres
from tests.kept import CHECK, NO_RIGHT, not_refused
from tests.pay.payserver.harness import FEN, PayserverHarness, on_account

PAY, REFUND, ACCOUNT = "UPDATE pay_order SET", "UPDATE refund_order SET", "UPDATE account_info SET"
LAWS = (
    # (change type, trade type, amount, ext_no): the rows of the table in docs/ledger.md, each broken
    (1, 1, -10, ""),
    (1, 1, 10, "quoted"),
    (1, 2, 10, ""),
    (1, 3, 10, ""),
    (1, 5, 10, ""),
    (1, 4, 10, "quoted"),
    (1, 4, -10, ""),
    (2, 1, 10, ""),
    (2, 4, -10, "quoted"),
    (3, 1, 10, ""),
    (3, 1, -10, "quoted"),
    (3, 4, -10, ""),
    (3, 5, -10, ""),
    (4, 1, -10, "quoted"),
    (4, 1, 10, ""),
    (4, 4, 10, "quoted"),
    (5, 4, 10, "quoted"),
    (5, 1, 10, "quoted"),
    (6, 4, -10, "quoted"),
    (7, 1, 10, ""),
)


def record(change: int, trade: int, amount: int, ext_no: str, **given: str) -> str:
    """Another record behind the last one of the account with the most."""
    facts = {
        "account": "account_id",
        "contra": "contra_account_id",
        "balance": f"balance_micros + ({amount})",
        "seq": "seq + 1",
        "hash": "hash",
    } | given
    return (
        "INSERT INTO account_record (record_id, account_id, contra_account_id, trade_no, ext_no,"
        " trade_type, change_type, amount_micros, balance_micros, floor_micros, seq, memo, create_time,"
        f" hash) SELECT record_id + 1, {facts['account']}, {facts['contra']}, 'new', '{ext_no}', {trade},"
        f" {change}, {amount}, {facts['balance']}, NULL, {facts['seq']}, memo, create_time,"
        f" {facts['hash']} FROM account_record ORDER BY seq DESC LIMIT 1"
    )


ANOTHER_REFUND = (
    'INSERT INTO refund_order SELECT (jsonb_populate_record(r, \'{"id": 99999, "uuid": "more",'
    ' "traction_no": "more", "client_refund_no": "more", "amount_micros": 490000}\')).*'
    " FROM refund_order r"
)
NO_KIND = (
    "INSERT INTO trade_record (uuid, traction_no, trade_type, amount_micros, status, result_code,"
    " merchant_uuid, mode_uuid, pay_uuid, refund_uuid, create_time)"
    " VALUES ('x', 'x', 'gift', 10000, 'payed', '', 'x', 'x', 'x', '', now())"
)
BROKEN = (
    *((record(*law), CHECK) for law in LAWS),
    (record(1, 1, 5, ""), CHECK),
    (record(1, 1, 10, "", seq="0"), CHECK),
    (record(1, 1, 10, "", seq="seq"), "23505"),
    (record(1, 1, 10, "", contra="account_id"), CHECK),
    (record(1, 1, 10, "", hash="''::bytea"), CHECK),
    ("UPDATE account_record SET memo = 'x'", NO_RIGHT),
    ("DELETE FROM account_record", NO_RIGHT),
    (f"{ACCOUNT} seq = 0 WHERE seq > 0", CHECK),
    (f"{ACCOUNT} head_hash = '' WHERE seq > 0", CHECK),
    (f"{ACCOUNT} credit_micros = -1", CHECK),
    (f"{ACCOUNT} status = 5", CHECK),
    (f"{ACCOUNT} balance_micros = 10 WHERE contra_account_id IS NULL", CHECK),
    (f"{ACCOUNT} contra_account_id = account_id", NO_RIGHT),
    (f"{ACCOUNT} limited = false", NO_RIGHT),
    ("DELETE FROM account_info", NO_RIGHT),
    ("INSERT INTO package_record VALUES (1, 1, 'x', 1, -1, 0, '', now())", CHECK),
    ("INSERT INTO package_record VALUES (1, 1, 'x', 3, 1, 0, '', now())", CHECK),
    ("INSERT INTO package_record VALUES (1, 1, 'x', 5, 1, 0, '', now())", CHECK),
    (f"{PAY} status = 'paying', finish_time = NULL, refunded_micros = 0", CHECK),
    (f"{PAY} refunded_micros = amount_micros + 10000", CHECK),
    (f"{PAY} refunded_micros = 0", CHECK),
    (f"{PAY} status = 'unpay', finish_time = NULL, refunded_micros = 0", CHECK),
    (f"{PAY} finish_time = NULL", CHECK),
    (f"{PAY} last_refund_time = NULL", CHECK),
    (f"{PAY} sent = 'what'", CHECK),
    (f"{PAY} parked_reason = 'x'", CHECK),
    (f"{PAY} amount_micros = 10000", NO_RIGHT),
    (f"{PAY} client_pay_no = 'x'", NO_RIGHT),
    (f"{REFUND} status = 'refunding', finish_time = NULL", CHECK),
    (f"{REFUND} status = 'unRefund', finish_time = NULL", CHECK),
    (f"{REFUND} finish_time = NULL", CHECK),
    (f"{REFUND} amount_micros = 10000", NO_RIGHT),
    (f"{REFUND} pay_id = 1", NO_RIGHT),
    (ANOTHER_REFUND, CHECK),
    (NO_KIND, CHECK),
    ("UPDATE trade_record SET status = 'x'", NO_RIGHT),
    ("UPDATE event SET text = ''", NO_RIGHT),
    ("DELETE FROM pay_order", NO_RIGHT),
    ("DELETE FROM refund_order", NO_RIGHT),
    ("DELETE FROM trade_record", NO_RIGHT),
    ("DELETE FROM event", NO_RIGHT),
)


async def test_no_broken_record_pay_or_refund_is_stored(
    postgres: Postgres,
    database: Callable[[str], Awaitable[DatabaseUrls]],
    harness: PayserverHarness,
) -> None:
    mode = await harness.mode()
    key = await harness.account(mode, fen=10_000)
    _, paid = await harness.post("pay", on_account(mode, key))
    part = {
        "payTractionNo": paid["data"]["tractionNo"],
        "clientRefundNo": "kept",
        "refundAmount": 20,
    }
    status, back = await harness.post("refund", part)
    assert status == 200, back
    rows = await harness.sql("SELECT refunded_micros FROM pay_order")
    assert [row[0] for row in rows] == [20 * FEN]
    assert await not_refused(postgres, await database("pay"), BROKEN) == []
