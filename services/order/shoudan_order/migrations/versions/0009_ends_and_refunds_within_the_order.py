"""The database refuses ends that do not fit what was delivered, and refunds above their order."""

from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"

# Rows are only added: without these a vacuum, which lets an index alone answer, comes when a fifth is new.
GROWING = """ALTER TABLE oms_operation
    SET (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05)"""

ENDED = (
    "(order_status IN (0, 90, 91)) = (end_time IS NOT NULL)"
    " AND (order_status <> 10 OR bind_face_micros = 0)"
    " AND (order_status <> 90 OR success_face_micros = 0)"
    " AND (order_status <> 91 OR success_face_micros BETWEEN 1 AND total_face_micros - 1)"
)
SOLD = (
    "(success_face_micros <> total_face_micros OR success_sell_amount_micros = sell_amount_micros"
    " AND success_commission_micros = commission_amount_micros"
    " AND success_service_micros = service_amount_micros AND success_fee_micros = fee_amount_micros)"
    " AND (success_face_micros <> 0 OR success_sell_amount_micros = 0 AND success_commission_micros = 0"
    " AND success_service_micros = 0 AND success_fee_micros = 0)"
)
RULES = (
    ("oms_order_info", "ended", ENDED),
    ("oms_order_info", "sold", SOLD),
    ("oms_order_delivery", "ended", "(delivery_status IN (0, 90)) = (end_time IS NOT NULL)"),
    ("oms_order_delivery", "started", "delivery_status NOT IN (0, 30) OR start_time IS NOT NULL"),
    ("oms_refund_info", "ended", "(refund_status = 10) = (end_time IS NULL)"),
    (
        "oms_refund_info",
        "money",
        "down_refund_status NOT IN (0, 20) OR refund_status IN (0, 20, 91)",
    ),
    ("oms_refund_info", "toggles", "complete_up_refund IN (0, 1)"),
    ("oms_refund_up_return", "ended", "(return_status IN (0, 90)) = (end_time IS NOT NULL)"),
    ("oms_refund_up_return", "started", "return_status <> 30 OR start_time IS NOT NULL"),
    ("oms_refund_up_return", "money", "up_refund_status NOT IN (0, 20) OR return_status = 0"),
    ("oms_notify_info", "ended", "(notify_status IN (0, 100)) = (end_time IS NOT NULL)"),
    ("oms_notify_info", "open", "NOT given_up OR notify_status IN (10, 20)"),
    ("oms_audit_info", "ended", "(audit_status = 20) = (audit_time IS NULL)"),
)

# Of one order, by the index of its refunds; those that failed gave nothing back.
WITHIN = """CREATE FUNCTION oms_refund_info_within() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM 1 FROM oms_order_info o CROSS JOIN LATERAL (
            SELECT sum(r.refund_face_micros) AS face, sum(r.refund_sell_amount_micros) AS sell
            FROM oms_refund_info r WHERE r.order_id = o.order_id AND r.refund_status <> 90) AS refunds
        WHERE o.order_id = NEW.order_id AND refunds.face <= o.total_face_micros
            AND refunds.sell <= o.sell_amount_micros;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'refunds of order % are above the order', NEW.order_id
                USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
        END IF;
        RETURN NULL;
    END $$"""
TRIGGERS = (
    """CREATE TRIGGER oms_refund_info_within AFTER INSERT ON oms_refund_info
       FOR EACH ROW WHEN (NEW.refund_status <> 90) EXECUTE FUNCTION oms_refund_info_within()""",
    """CREATE TRIGGER oms_refund_info_still_within AFTER UPDATE ON oms_refund_info
       FOR EACH ROW WHEN (NEW.refund_status <> 90
           AND (NEW.refund_face_micros > OLD.refund_face_micros
               OR NEW.refund_sell_amount_micros > OLD.refund_sell_amount_micros
               OR OLD.refund_status = 90))
       EXECUTE FUNCTION oms_refund_info_within()""",
)


def upgrade() -> None:
    """Forward; the release before keeps these rules, too."""
    for table, name, rule in RULES:
        op.create_check_constraint(op.f(f"{table}_{name}"), table, rule, postgresql_not_valid=True)
    for sql in (WITHIN, *TRIGGERS, GROWING):
        op.execute(sql)
