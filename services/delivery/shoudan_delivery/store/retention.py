"""Which deliveries leave the database, what of theirs goes along, and what stays known of them."""

from __future__ import annotations

from typing import Final

from shoudan_delivery.states import FINAL, PushStatus, ServiceClass
from shoudan_delivery.tables import ARCHIVED
from shoudan_kit.db.columns import literals
from shoudan_kit.db.ended import Ended, Member, Stay, made_of
from shoudan_kit.db.pages import ID_MAX
from shoudan_kit.ids import DIGITS_MAX
from shoudan_kit.tasks.kinds import TaskStatus

_MINE: Final = "x.order_no = ANY({ids})"
_CARDS: Final = literals(sorted({ServiceClass.COUPON, ServiceClass.COUPON_RETURN}))
# A hold on an order holds its deliveries, by when the order was made. Not every number is one of ours.
_ORDER: Final = (
    "CASE WHEN r.order_id ~ '^[0-9]{1,19}$'"
    f" AND (length(r.order_id) < {DIGITS_MAX} OR r.order_id COLLATE \"C\" <= '{ID_MAX}')"
    " THEN CAST(r.order_id AS bigint) END"
)
_KEYS: Final = ("coop_id", "coop_order_id", "service_class")

# The first reason that is true is the one that is shown.
STAYS: Final = (
    Stay("open", "it has not ended", f"r.status NOT IN ({literals(sorted(FINAL))})"),
    Stay("changed", "something changed it since", "r.last_update_time >= :before"),
    Stay("conflict", "a later result contradicts it", "r.conflict"),
    Stay(
        "report",
        "the order service has not acknowledged its end",
        "NOT EXISTS (SELECT FROM vds_order_notify n WHERE n.order_no = r.order_no"
        f" AND n.status = {PushStatus.ACKNOWLEDGED:d} AND n.finish_time < :before)",
    ),
    Stay(
        "task",
        "a task of it has failed",
        f"EXISTS (SELECT FROM task t WHERE t.exclusive AND t.status = {TaskStatus.FAILED:d}"
        " AND t.order_no = CAST(r.order_no AS text))",
    ),
    Stay(
        "cards",
        "its goods are codes, which are found by it",
        f"r.service_class IN ({_CARDS})",
    ),
)

# Accounts do not go along: what a person may have erased is in no file that cannot be changed.
DELIVERIES: Final = Ended(
    table="vds_order_info",
    key="order_no",
    number=_ORDER,
    owner="r.coop_id",
    made=f"coalesce({made_of(f'({_ORDER})')}, r.create_time)",
    stays=STAYS,
    holds="",
    holds_in="order",
    members=(
        Member("vds_order_info", "order_no", _MINE, blank=("account",)),
        Member("vds_order_query", "order_no", _MINE),
        Member("vds_order_notify", "order_no", _MINE),
    ),
    keys="vds_archived_order",
    lots="vds_archived_lot",
    remember=f"""
INSERT INTO vds_archived_order ({", ".join(ARCHIVED)}, query_count, lot_no)
SELECT {", ".join(f"o.{name}" for name in ARCHIVED)}, coalesce(q.query_count, 0), :lot_no
FROM vds_order_info o LEFT JOIN vds_order_query q ON q.order_no = o.order_no
WHERE o.order_no = ANY(CAST(:ids AS bigint[]))
ON CONFLICT ({", ".join(_KEYS)}) DO UPDATE SET lot_no = excluded.lot_no, query_count = excluded.query_count,
    {", ".join(f"{name} = excluded.{name}" for name in ARCHIVED if name not in _KEYS)}
""",
)
