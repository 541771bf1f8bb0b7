"""The services' methods that pages call, by their names in the contract."""

from __future__ import annotations

from typing import Any, Final

from shoudan.core.v1.operations_service_pb2_grpc import OperationsServiceStub
from shoudan.core.v1.proposal_service_pb2_grpc import ProposalServiceStub
from shoudan.core.v1.work_service_pb2_grpc import WorkServiceStub
from shoudan.delivery.v1.delivery_service_pb2_grpc import DeliveryServiceStub
from shoudan.order.v1.audit_service_pb2_grpc import AuditServiceStub
from shoudan.order.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from shoudan.order.v1.order_service_pb2_grpc import OrderServiceStub
from shoudan.pay.v1.ledger_service_pb2_grpc import LedgerServiceStub
from shoudan_console.backend import Rpc


def _of(service: str, stub: Any, package: str, method: str) -> Rpc:
    return Rpc(service, stub, f"shoudan.{package}/{method}")


_ORDER: Final = ("order", OrderServiceStub, "order.v1.OrderService")
_AUDIT: Final = ("order", AuditServiceStub, "order.v1.AuditService")
_LEDGER: Final = ("pay", LedgerServiceStub, "pay.v1.LedgerService")
_DELIVERY: Final = ("delivery", DeliveryServiceStub, "delivery.v1.DeliveryService")
_CATALOGUE: Final = ("order", CatalogueServiceStub, "order.v1.CatalogueService")

LIST_ORDERS: Final = _of(*_ORDER, "ListOrders")
GET_ORDER: Final = _of(*_ORDER, "GetOrder")
GET_LIFECYCLE: Final = _of(*_ORDER, "GetLifecycle")
REPORT: Final = _of(*_AUDIT, "Report")
LIST_DEAD_NOTIFIES: Final = _of(*_AUDIT, "ListDeadNotifies")
RESEND_NOTIFIES: Final = _of(*_AUDIT, "ResendNotifies")
GET_CATALOGUE: Final = _of(*_CATALOGUE, "GetCatalogue")
LIST_ACCOUNTS: Final = _of(*_LEDGER, "ListAccounts")
LIST_RECORDS: Final = _of(*_LEDGER, "ListRecords")
LIST_DELIVERIES: Final = _of(*_DELIVERY, "ListDeliveries")
LIST_INCIDENTS: Final = _of(*_DELIVERY, "ListIncidents")


def list_work(service: str) -> Rpc:
    """ListOpenWork of a service."""
    return _of(service, WorkServiceStub, "core.v1.WorkService", "ListOpenWork")


def decide_work(service: str) -> Rpc:
    """DecideWork of a service."""
    return _of(service, WorkServiceStub, "core.v1.WorkService", "DecideWork")


def propose(service: str) -> Rpc:
    """Propose of a service."""
    return _of(service, ProposalServiceStub, "core.v1.ProposalService", "Propose")


def get_history(service: str) -> Rpc:
    """GetHistory of a service."""
    return _of(service, OperationsServiceStub, "core.v1.OperationsService", "GetHistory")
