"""The laws: what must be true after every commit, and what must be true once all is quiet.

They are written down here a second time, in numbers, and use nothing of the product: a lifecycle that is
changed there is held to the one that stands here. I1 to I17 and H1 to H6 are those of the design.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from tests.simulation.store import Values, Written

if TYPE_CHECKING:
    from tests.simulation.outside import Entry
    from tests.simulation.system import System

# Where an order, a delivery, a refund … may go from where it is (I8).
MOVES: Final[dict[tuple[str, str], dict[int, set[int]]]] = {
    ("oms_order_info", "order_status"): {
        10: {20, 90}, 20: {0, 90, 91}, 0: {90, 91}, 91: {90}, 90: set(),
    },
    ("oms_order_info", "payment_status"): {30: {0, 90, 99}, 0: set(), 90: set(), 99: set()},
    ("oms_order_info", "refund_status"): {10: {20, 99}, 20: {0, 99}, 99: {20}, 0: set()},
    ("oms_order_info", "notify_status"): {10: {30}, 30: {0, 100}, 0: set(), 100: set()},
    ("oms_order_delivery", "delivery_status"): {20: {30, 90}, 30: {0, 90}, 90: {0}, 0: set()},
    ("oms_order_delivery", "up_payment_status"): {10: {30, 99}, 30: {0}, 99: {30}, 0: set()},
    ("oms_refund_info", "refund_status"): {10: {20, 90, 91}, 20: {0}, 0: set(), 90: set(), 91: set()},
    ("oms_refund_info", "down_refund_status"): {10: {20, 99}, 20: {0}, 0: set(), 99: set()},
    ("oms_refund_info", "refund_notify_status"): {10: {30}, 30: {0, 100}, 0: set(), 100: set()},
    ("oms_refund_up_return", "return_status"): {20: {30, 90}, 30: {0, 90}, 0: set(), 90: set()},
    ("oms_refund_up_return", "up_refund_status"): {10: {20, 99}, 20: {0}, 0: set(), 99: set()},
    ("vds_order_info", "status"): {20: {30, 0, 90}, 30: {20, 0, 90}, 0: set(), 90: set()},
}  # fmt: skip
BORN: Final[dict[tuple[str, str], set[int]]] = {
    ("oms_order_info", "order_status"): {10},
    ("oms_order_delivery", "delivery_status"): {30},
    ("oms_refund_info", "refund_status"): {10, 20},
    ("oms_refund_up_return", "return_status"): {20, 0},  # 0: a false success, which has no refund
    ("vds_order_info", "status"): {20, 30},
}
_COLUMNS: Final = {
    table: [column for name, column in MOVES if name == table] for table in {t for t, _ in MOVES}
}
COST_MAX_PPM: Final = 1_010_000
_PROFIT: Final = (
    ("success_sell_amount_micros", 1), ("success_commission_micros", -1), ("success_service_micros", 1),
    ("success_fee_micros", -1), ("success_cost_amount_micros", -1), ("success_up_commission_micros", 1),
    ("success_up_service_micros", 1),
)  # fmt: skip


class Broken(AssertionError):
    """A law is broken."""


class Laws:
    """Looks at every commit of every store, and at everything in the end."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.checks = 0
        self.heads: dict[int, tuple[int, int]] = {}
        self.moved: dict[tuple[str, int, int], int] = defaultdict(int)
        self.by_trade: dict[tuple[str, int], int] = defaultdict(int)
        self.numbers: dict[str, int] = {}  # of a delivery, at the delivery service
        self.decided: set[int] = set()  # orders that a person has decided something of
        self.settled = False  # everything was decided that waited
        system.order_store.committed.append(self._order_commit)
        system.pay_store.committed.append(self._pay_commit)
        system.delivery_store.committed.append(self._delivery_commit)
        for supplier in system.suppliers.values():
            supplier.watch = self._fulfilled

    def _say(self, law: str, what: object) -> None:
        raise Broken(f"{law}: {what}")

    # ------------------------------------------------------------ after each commit
    def _moves(self, before: Written, after: Written) -> None:
        """I8: nothing moves but as it may, nothing goes away."""
        for table, rows in after.items():
            for column in _COLUMNS.get(table, ()):
                moves = MOVES[table, column]
                for key, row in rows.items():
                    was = before[table][key]
                    if row is None:
                        self._say("I8", f"{table} {key} was deleted")
                    elif was is None:
                        born = BORN.get((table, column))
                        if born is not None and int(row[column]) not in born:
                            self._say("I8", f"{table}.{column} {key} began as {row[column]}")
                    elif (a := int(was[column])) != (b := int(row[column])) and b not in moves[a]:
                        self._say("I8", f"{table}.{column} {key} moved from {a} to {b}")

    def _order_commit(self, before: Written, after: Written) -> None:
        self.checks += 1
        self._moves(before, after)
        touched = set(after.get("oms_order_info", ()))
        for table in ("oms_order_delivery", "oms_refund_info"):
            touched.update(r["order_id"] for r in after.get(table, {}).values() if r is not None)
        for order_id in touched:
            self._order(order_id)
        for key, row in after.get("oms_order_info", {}).items():
            self._parked(key, before["oms_order_info"][key], row)
        for rows in (after.get("oms_refund_up_return", {}),):
            for row in rows.values():
                if row is not None:
                    self._returned(row["delivery_id"])

    def _order(self, order_id: int) -> None:
        """I7, while it runs: parts explain the whole, profit is what its terms say, refunds fit in."""
        tables = self.system.order_store.tables
        row = tables["oms_order_info"].rows[order_id]
        found = tables["oms_order_delivery"].index["order_id"].get(order_id, ())
        parts = [tables["oms_order_delivery"].rows[key] for key in found]
        bound = sum(p["total_face_micros"] for p in parts if p["delivery_status"] != 90)
        delivered = sum(p["total_face_micros"] for p in parts if p["delivery_status"] == 0)
        cost = sum(p["cost_amount_micros"] for p in parts if p["delivery_status"] == 0)
        found = tables["oms_refund_info"].index["order_id"].get(order_id, ())
        refunds = [tables["oms_refund_info"].rows[key] for key in found]
        ended = [r for r in refunds if r["refund_status"] in {0, 20, 91}]
        back = sum(r["refund_face_micros"] for r in ended)
        now = row["success_face_micros"]
        wrong = (
            (row["bind_face_micros"] != bound, "I8", "it does not say what is bound"),
            (bound > row["total_face_micros"], "I8", "more is bound than it bought"),
            (now != delivered - back, "I8", "its parts do not explain its success"),
            (sum(r["refund_status"] == 10 for r in refunds) > 1, "I7", "two refunds under way"),
            (self._profit(row) != row["profit_micros"], "I7", "its profit is not of its terms"),
            (
                row["order_status"] == 0 and delivered != row["total_face_micros"],
                "I8",
                "it succeeded, not all delivered",
            ),
            (
                row["payment_status"] == 0 and row["order_status"] == 10,
                "I7",
                "it is paid and waits for its payment",
            ),
            (
                row["pay_time"] is not None and row["pay_time"] >= row["order_overtime"],
                "I8",
                "it was paid after its overtime, and goes on",
            ),
            # A return takes its cost back before its refund ends, so the sum may only be less.
            (row["success_cost_amount_micros"] > cost, "I7", "it cost more than its parts"),
        )
        for so, law, words in wrong:
            if so:
                self._say(law, f"order {order_id}: {words} ({bound=} {delivered=} {back=} {now=})")

    def _parked(self, order_id: int, was: Values | None, now: Values | None) -> None:
        """I8: what a person is to decide does not fail by itself."""
        if was is None or now is None or not (was["parked_reason"] and now["parked_reason"]):
            return
        ended = was["order_status"] == 20 and now["order_status"] in {90, 91}
        if ended and order_id not in self.decided:
            self._say("I8", f"order {order_id} is parked, and ended as {now['order_status']}")

    @staticmethod
    def _profit(row: Values) -> int:
        return sum(row[name] * sign for name, sign in _PROFIT)

    def _returned(self, delivery_id: int) -> None:
        """What is returned of a delivery is at most what was delivered."""
        tables = self.system.order_store.tables
        part = tables["oms_order_delivery"].rows[delivery_id]
        found = tables["oms_refund_up_return"].index["delivery_id"].get(delivery_id, ())
        rows = [tables["oms_refund_up_return"].rows[key] for key in found]
        back = sum(r["return_num"] for r in rows if r["return_status"] != 90)
        cost = sum(r["return_cost_amount_micros"] for r in rows if r["return_status"] != 90)
        if back > part["num"]:
            self._say("I7", f"{back} of {part['num']} of delivery {delivery_id} are returned")
        if cost > part["cost_amount_micros"]:
            self._say("I7", f"more of delivery {delivery_id} is given back than it had cost")

    def _pay_commit(self, before: Written, after: Written) -> None:
        """I1 to I4: records follow one another without a gap, and the account says what they say."""
        self.checks += 1
        accounts = self.system.pay_store.tables["account_info"].rows
        last: dict[int, Values] = {}
        new = after.get("account_record", {})
        for key, row in sorted(new.items(), key=lambda one: (one[1] or {}).get("seq", 0)):
            if row is None or before["account_record"][key] is not None:
                self._say("I4", f"record {key} was changed")
            assert row is not None, "it was not deleted"
            number = row["account_id"]
            self._record(row, last.get(number))
            last[number] = row
        for number, row in last.items():
            account = accounts[number]
            if (account["balance_micros"], account["seq"], account["head_hash"]) != (
                row["balance_micros"], row["seq"], row["hash"],
            ):  # fmt: skip
                self._say("I2", f"account {number} is not where its last record left it")

    def _record(self, row: Values, previous: Values | None) -> None:
        number = row["account_id"]
        was, seq = (previous["balance_micros"], previous["seq"]) if previous else self.known(number)
        if row["balance_micros"] != was + row["amount_micros"] or row["seq"] != seq + 1:
            self._say("I2", f"record {row['record_id']} does not follow the one before")
        account = self.system.pay_store.tables["account_info"].rows[number]
        if account["limited"]:
            floor = -account["credit_micros"]
            if row["amount_micros"] < 0 and row["balance_micros"] < floor:
                self._say("I3", f"account {number} fell to {row['balance_micros']}")
            if row["floor_micros"] != floor:
                self._say("I3", f"record {row['record_id']} does not say the floor")
        self.heads[number] = (row["balance_micros"], row["seq"])
        self.moved[row["trade_no"], row["trade_type"], number] += row["amount_micros"]
        self.by_trade[row["trade_no"], row["trade_type"]] += row["amount_micros"]
        if row["ext_no"] and abs(self._given_back(row)) > abs(self._had(row)):
            self._say("I7", f"more is given back of {row['ext_no']} than was paid")

    def known(self, number: int) -> tuple[int, int]:
        """The balance and the seq that an account had reached."""
        return self.heads.get(number, (0, 0))

    def _given_back(self, row: Values) -> int:
        quote = (row["account_id"], row["ext_no"], row["trade_type"], row["change_type"])
        records = self.system.pay_store.tables["account_record"]
        return sum(
            records.rows[key]["amount_micros"] for key in records.index["by_quote"].get(quote, ())
        )

    def _had(self, row: Values) -> int:
        return self.moved.get((row["ext_no"], row["trade_type"], row["account_id"]), 0)

    def _delivery_commit(self, before: Written, after: Written) -> None:
        """I9: an end is one that the supplier stated, or nothing was sent."""
        self.checks += 1
        self._moves(before, after)
        for key, row in after.get("vds_order_info", {}).items():
            assert row is not None, "nothing is deleted"
            was = before["vds_order_info"][key]
            self.numbers[row["coop_order_id"]] = key
            ended = int(row["status"]) in {0, 90} and (
                was is None or was["status"] != row["status"]
            )
            if ended and row["result_source"] != 4:
                self._delivered(row)

    def _delivered(self, row: Values) -> None:
        entry = self.system.suppliers[row["channel_no"]].journal.get(str(row["order_no"]))
        stated = entry.said if entry is not None else []
        if row["status"] == 0 and True not in stated:
            self._say("I9", f"delivery {row['order_no']} succeeded, and nobody said so")
        if row["status"] == 90 and False not in stated and entry is not None and entry.received:
            self._say("I9", f"delivery {row['order_no']} failed, and nobody said so")

    def _fulfilled(self, number: str, entry: Entry) -> None:
        """I9: at most one fulfilment of each delivery, and none without a stored intent."""
        if entry.fulfilled > 1:
            self._say("I9", f"{number} was delivered {entry.fulfilled} times")
        row = self.system.delivery_store.tables["vds_order_info"].rows.get(int(number))
        if row is None or not row["request_count"]:
            self._say("I9", f"{number} was delivered, and no intent of it is stored")

    # ------------------------------------------------------------ when all is quiet
    def at_rest(self) -> None:
        """What must be true once nothing is under way."""
        for row in self.system.order_store.tables["oms_order_info"].rows.values():
            self._ended(row)
            self._ledger(row)
            self._bought(row)
            self._waits(row)
        for supplier in self.system.suppliers.values():
            for number, entry in supplier.journal.items():
                self._contradicted(number, entry)
        self._events()
        self._notified()
        self._cancelled()
        self._partners()

    def _ended(self, row: Values) -> None:
        """I8 liveness: every order has ended, or waits for a person."""
        order_id, parked = row["order_id"], row["parked_reason"]
        if row["order_status"] in {10, 20} and not parked:
            self._say("I8", f"order {order_id} is {row['order_status']} and waits for nobody")
        if row["refund_status"] == 20 and row["order_status"] in {90, 91}:
            self._say("I7", f"order {order_id} waits for its money")
        tables = self.system.order_store.tables
        for key in tables["oms_refund_info"].index["order_id"].get(order_id, ()):
            refund = tables["oms_refund_info"].rows[key]
            if refund["refund_status"] in {10, 20} and not parked:
                self._say("I8", f"refund {key} is {refund['refund_status']} and waits for nobody")

    def _waits(self, row: Values) -> None:
        """I8: a parked order waits for a decision that there is; in the end none does."""
        if not row["parked_reason"]:
            return
        tables = self.system.order_store.tables
        found = tables["oms_audit_info"].index["order_id"].get(row["order_id"], ())
        waiting = [key for key in found if tables["oms_audit_info"].rows[key]["audit_status"] == 20]
        if not waiting or self.settled:
            self._say("I8", f"order {row['order_id']} is parked: {row['parked_reason']} {waiting=}")

    def _contradicted(self, number: str, entry: Entry) -> None:
        """I5: what a supplier stated against a stored end is kept, and a person asked once."""
        row = self.system.delivery_store.tables["vds_order_info"].rows.get(int(number))
        if row is None or row["status"] not in {0, 90} or (row["status"] != 0) not in entry.taken:
            return
        if not row["conflict"]:
            self._say("I5", f"{number} is {row['status']} and contradicted: nobody kept that")
        tables, mine = self.system.order_store.tables, int(row["coop_order_id"])
        part = tables["oms_order_delivery"].rows.get(mine)
        kept = part or tables["oms_refund_up_return"].rows[mine]
        audits = tables["oms_audit_info"].index["order_id"].get(kept["order_id"], ())
        found = [tables["oms_audit_info"].rows[key] for key in audits]
        asked = [one for one in found if one["delivery_id"] == mine]
        if not kept["conflict"] or not asked:
            self._say("I5", f"{mine} was contradicted, and nobody is asked")

    def fulfilled(self, delivery_id: int) -> bool:
        """Whether the supplier did what it was asked for, as its journal says."""
        order_no = self.numbers.get(str(delivery_id))
        journals = (one.journal for one in self.system.suppliers.values())
        found = [one[str(order_no)] for one in journals if str(order_no) in one]
        return any(one.fulfilled for one in found)

    def _of_trade(self, trade_no: str, trade_type: int = 1) -> int:
        return self.by_trade.get((trade_no, trade_type), 0)

    def _ledger(self, row: Values) -> None:
        """I7: what the order says is what the ledger says."""
        order_id, status = row["order_id"], row["order_status"]
        paid, back = -self._of_trade(str(order_id)), self._of_trade(f"r{order_id}")
        tables = self.system.order_store.tables
        refunded = sum(
            self._of_trade(str(key))
            for key in tables["oms_refund_info"].index["order_id"].get(order_id, ())
        )
        sold = row["sell_amount_micros"]
        if paid not in {0, sold} or back + refunded > paid or min(back, refunded) < 0:
            self._say(
                "I7", f"order {order_id} paid {paid} of {sold}, got {back} and {refunded} back"
            )
        kept = paid - back - refunded
        if status == 90 and not row["parked_reason"] and kept:
            self._say("I7", f"order {order_id} has failed and {kept} of its money is kept")
        if (
            status in {0, 91}
            and not row["parked_reason"]
            and kept != row["success_sell_amount_micros"]
        ):
            owed = row["success_sell_amount_micros"]
            self._say("I7", f"order {order_id} is {status}: {kept} was kept for {owed}")

    def _bought(self, row: Values) -> None:
        """I7 of the other side: each supplier was paid for what it delivered, at what it stated."""
        tables = self.system.order_store.tables
        for key in tables["oms_order_delivery"].index["order_id"].get(row["order_id"], ()):
            part = tables["oms_order_delivery"].rows[key]
            paid = -self._of_trade(str(key))
            if part["delivery_status"] == 0:
                if part["up_payment_status"] != 0 or paid != part["cost_amount_micros"]:
                    self._say(
                        "I7", f"delivery {key} cost {part['cost_amount_micros']}, paid was {paid}"
                    )
                self._cost(part)
            elif paid:
                self._say("I7", f"delivery {key} did not succeed, and its supplier was paid {paid}")

    def _cost(self, part: Values) -> None:
        agreed = part["total_face_micros"] * (80 if part["up_channel_no"] == "ycup" else 81) // 100
        stored = self.delivery_of(part["delivery_id"])
        entry = self.system.suppliers[part["up_channel_no"]].journal.get(str(stored["order_no"]))
        stated = entry.cost_micros if entry is not None else None
        believed = stated is not None and "cost_amount" in stored["result_params"]
        if believed and stated is not None and stated * 1_000_000 <= agreed * COST_MAX_PPM:
            agreed = stated
        if part["cost_amount_micros"] != agreed:
            self._say(
                "I7",
                f"delivery {part['delivery_id']} is booked at {part['cost_amount_micros']}, not {agreed}",
            )

    def delivery_of(self, delivery_id: int) -> Values:
        """The delivery service's row of a delivery of the order service."""
        order_no = self.numbers.get(str(delivery_id))
        if order_no is None:
            raise Broken(f"I9: delivery {delivery_id} was never handed over")
        return self.system.delivery_store.tables["vds_order_info"].rows[order_no]

    def _events(self) -> None:
        """I11 to I13: every event is in the stream; an order ends once."""
        from shoudan.core.v1 import core_pb2

        streamed: set[int] = set()
        for _, payload in self.system.stream:
            streamed.update(one.event_id for one in core_pb2.EventBatch.FromString(payload).events)
        stored: set[int] = set()
        for store in self.system.stores:
            stored |= store.tables["event"].rows.keys()
            if any(not row["published"] for row in store.tables["outbox"].rows.values()):
                self._say("I13", f"events of {store.name} are not published")
        if stored != streamed:
            self._say("I11", f"{len(stored - streamed)} events are not in the stream")
        ends: dict[str, int] = defaultdict(int)
        prefix = "shoudan.events.order.order."
        for row in self.system.order_store.tables["event"].rows.values():
            if row["subject"] in {prefix + "succeeded", prefix + "failed", prefix + "partial"}:
                ends[row["key"]] += 1
        if twice := [key for key, count in ends.items() if count > 1]:
            self._say("I8", f"orders {twice[:3]} ended more than once")

    def _notified(self) -> None:
        """I15: whoever is owed a notify has taken it, of the end that stands; I7: attempts are bounded."""
        tables = self.system.order_store.tables
        for row in tables["oms_notify_info"].rows.values():
            order = tables["oms_order_info"].rows[row["order_id"]]
            refund = tables["oms_refund_info"].rows.get(row["refund_id"])
            key = (
                order["down_channel_no"], order["request_no"], refund["down_refund_no"] if refund else "",
            )  # fmt: skip
            heard = self.system.partners.notified.get(key, [])
            running = (refund or order)["refund_notify_status" if refund else "notify_status"] == 30
            taken = [status for status, took in heard if took]
            if running and not row["given_up"] and not order["parked_reason"]:
                self._say("I15", f"{key} is owed a notify, heard {heard}")
            if row["notify_status"] == 0 and not taken:
                self._say("I15", f"{key} counts as notified and took none: {heard}")
            if any(status not in {0, 90, 91} for status, _ in heard):
                self._say("I15", f"{key} was notified of what is no end: {heard}")

    def _cancelled(self) -> None:
        """H3: what was answered as cancelled has failed."""
        tables = self.system.order_store.tables
        for key in self.system.partners.cancelled:
            order_id = tables["order_key"].rows[key]["order_id"]
            if tables["oms_order_info"].rows[order_id]["order_status"] != 90:
                self._say("H3", f"{key} was cancelled, and did not fail")

    def _partners(self) -> None:
        """H1 to H6, as the partners saw them."""
        partners = self.system.partners
        if partners.problems:
            self._say("H", partners.problems[0])
        tables = self.system.order_store.tables
        for (channel_no, request_no), one in partners.wanted.items():
            held = tables["order_key"].rows.get((channel_no, request_no))
            if one.accepted and (held is None or {held["order_id"]} != one.ids):
                self._say("H1", f"{request_no} was taken as {one.ids}, stored is {held}")
            if held is not None and one.status in {0, 90, 91}:
                status = tables["oms_order_info"].rows[held["order_id"]]["order_status"]
                if status not in {0: {0, 90, 91}, 91: {90, 91}, 90: {90}}[one.status]:
                    self._say("H3", f"{request_no} was seen as {one.status}, stored is {status}")
            if one.refused and not one.accepted and held is not None:
                self._say("H4", f"{request_no} was refused and is stored")
        for (channel_no, request_no, refund_no), heard in partners.notified.items():
            for status, _ in heard:
                self._told(channel_no, request_no, refund_no, status)

    def _told(self, channel_no: str, request_no: str, refund_no: str, status: int) -> None:
        tables = self.system.order_store.tables
        held = tables["order_key"].rows.get((channel_no, request_no))
        if held is None:
            self._say("H1", f"{request_no} was notified and is not stored")
        if not refund_no and held is not None:
            now = tables["oms_order_info"].rows[held["order_id"]]["order_status"]
            if now not in {0: {0, 90, 91}, 91: {90, 91}, 90: {90}}[status]:
                self._say("H3", f"{request_no} was notified of {status}, stored is {now}")
