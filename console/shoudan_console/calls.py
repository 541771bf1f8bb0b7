"""The services' methods that pages call, by their names in the contract."""

from __future__ import annotations

from typing import Any, Final

from shoudan.core.v1.audit_log_service_pb2_grpc import AuditLogServiceStub
from shoudan.core.v1.operations_service_pb2_grpc import OperationsServiceStub
from shoudan.core.v1.proposal_service_pb2_grpc import ProposalServiceStub
from shoudan.core.v1.work_service_pb2_grpc import WorkServiceStub
from shoudan.delivery.v1.delivery_service_pb2_grpc import DeliveryServiceStub, SupplierServiceStub
from shoudan.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from shoudan.order.v1.audit_service_pb2_grpc import AuditServiceStub
from shoudan.order.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from shoudan.order.v1.endpoint_service_pb2_grpc import EndpointServiceStub
from shoudan.order.v1.order_service_pb2_grpc import OrderServiceStub
from shoudan.order.v1.request_log_service_pb2_grpc import RequestLogServiceStub
from shoudan.pay.v1.ledger_service_pb2_grpc import LedgerServiceStub
from shoudan_console.backend import Rpc


def _of(service: str, stub: Any, package: str, method: str) -> Rpc:
    return Rpc(service, stub, f"shoudan.{package}/{method}")


_ORDER: Final = ("order", OrderServiceStub, "order.v1.OrderService")
_AUDIT: Final = ("order", AuditServiceStub, "order.v1.AuditService")
_LEDGER: Final = ("pay", LedgerServiceStub, "pay.v1.LedgerService")
_SUPPLIER: Final = ("delivery", SupplierServiceStub, "delivery.v1.SupplierService")
_DELIVERY: Final = ("delivery", DeliveryServiceStub, "delivery.v1.DeliveryService")
_IDENTITY: Final = ("identity", IdentityServiceStub, "identity.v1.IdentityService")
_CATALOGUE: Final = ("order", CatalogueServiceStub, "order.v1.CatalogueService")

_ENDPOINT: Final = ("order", EndpointServiceStub, "order.v1.EndpointService")
_REQUEST_LOG: Final = ("order", RequestLogServiceStub, "order.v1.RequestLogService")

LIST_ORDERS: Final = _of(*_ORDER, "ListOrders")
GET_SURVEY: Final = _of(*_ORDER, "GetSurvey")
LIST_REFUNDS: Final = _of(*_ORDER, "ListRefunds")
GET_ORDER: Final = _of(*_ORDER, "GetOrder")
GET_LIFECYCLE: Final = _of(*_ORDER, "GetLifecycle")
REPORT: Final = _of(*_AUDIT, "Report")
LIST_DEAD_NOTIFIES: Final = _of(*_AUDIT, "ListDeadNotifies")
RESEND_NOTIFIES: Final = _of(*_AUDIT, "ResendNotifies")
GET_CATALOGUE: Final = _of(*_CATALOGUE, "GetCatalogue")
LIST_ENDPOINTS: Final = _of(*_ENDPOINT, "ListEndpoints")
LIST_USAGE: Final = _of(*_REQUEST_LOG, "ListUsage")
LIST_ACCOUNTS: Final = _of(*_LEDGER, "ListAccounts")
GET_ACCOUNT: Final = _of(*_LEDGER, "GetAccount")
GET_BALANCE: Final = _of(*_LEDGER, "GetBalance")
LIST_SUPPLIERS: Final = _of(*_SUPPLIER, "ListSuppliers")
SET_SUPPLIER_STATE: Final = _of(*_SUPPLIER, "SetSupplierState")
LIST_OPERATORS: Final = _of(*_IDENTITY, "ListOperators")
LIST_SESSIONS: Final = _of(*_IDENTITY, "ListSessions")
END_SESSION: Final = _of(*_IDENTITY, "EndSession")
LIST_API_TOKENS: Final = _of(*_IDENTITY, "ListApiTokens")
CHANGE_PASSWORD: Final = _of(*_IDENTITY, "ChangePassword")
GET_OPERATOR_NAMES: Final = _of(*_IDENTITY, "GetOperatorNames")
LIST_RECORDS: Final = _of(*_LEDGER, "ListRecords")
LIST_DELIVERIES: Final = _of(*_DELIVERY, "ListDeliveries")
LIST_INCIDENTS: Final = _of(*_DELIVERY, "ListIncidents")


def list_work(service: str) -> Rpc:
    """ListOpenWork of a service."""
    return _of(service, WorkServiceStub, "core.v1.WorkService", "ListOpenWork")


def decide_work(service: str) -> Rpc:
    """DecideWork of a service."""
    return _of(service, WorkServiceStub, "core.v1.WorkService", "DecideWork")


def _proposal(service: str, method: str) -> Rpc:
    return _of(service, ProposalServiceStub, "core.v1.ProposalService", method)


def propose(service: str) -> Rpc:
    """Propose of a service."""
    return _proposal(service, "Propose")


def list_proposals(service: str) -> Rpc:
    """ListProposals of a service."""
    return _proposal(service, "ListProposals")


def get_proposal(service: str) -> Rpc:
    """GetProposal of a service."""
    return _proposal(service, "GetProposal")


def approve(service: str) -> Rpc:
    """ApproveProposal of a service."""
    return _proposal(service, "ApproveProposal")


def refuse(service: str) -> Rpc:
    """RefuseProposal of a service."""
    return _proposal(service, "RefuseProposal")


def withdraw(service: str) -> Rpc:
    """WithdrawProposal of a service."""
    return _proposal(service, "WithdrawProposal")


def _operation(service: str, method: str) -> Rpc:
    return _of(service, OperationsServiceStub, "core.v1.OperationsService", method)


def get_history(service: str) -> Rpc:
    """GetHistory of a service."""
    return _operation(service, "GetHistory")


def list_tasks(service: str) -> Rpc:
    """ListTasks of a service."""
    return _operation(service, "ListTasks")


def retry_tasks(service: str) -> Rpc:
    """RetryTasks of a service."""
    return _operation(service, "RetryTasks")


def list_audit_log(service: str) -> Rpc:
    """ListAuditLog of a service."""
    return _of(service, AuditLogServiceStub, "core.v1.AuditLogService", "ListAuditLog")
