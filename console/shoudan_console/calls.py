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
from shoudan.order.v1.sandbox_service_pb2_grpc import SandboxServiceStub
from shoudan.pay.v1.ledger_service_pb2_grpc import LedgerServiceStub
from shoudan_console.backend import Rpc


def rpc_of(service: str, stub: Any, name: str, method: str) -> Rpc:
    """A method of a service by the package and name of its contract: `order.v1.OrderService`."""
    return Rpc(service, stub, f"shoudan.{name}/{method}")


_ORDER: Final = ("order", OrderServiceStub, "order.v1.OrderService")
_AUDIT: Final = ("order", AuditServiceStub, "order.v1.AuditService")
_LEDGER: Final = ("pay", LedgerServiceStub, "pay.v1.LedgerService")
_SUPPLIER: Final = ("delivery", SupplierServiceStub, "delivery.v1.SupplierService")
_DELIVERY: Final = ("delivery", DeliveryServiceStub, "delivery.v1.DeliveryService")
_IDENTITY: Final = ("identity", IdentityServiceStub, "identity.v1.IdentityService")
_CATALOGUE: Final = ("order", CatalogueServiceStub, "order.v1.CatalogueService")

_ENDPOINT: Final = ("order", EndpointServiceStub, "order.v1.EndpointService")
_SANDBOX: Final = ("order", SandboxServiceStub, "order.v1.SandboxService")
_REQUEST_LOG: Final = ("order", RequestLogServiceStub, "order.v1.RequestLogService")

LIST_ORDERS: Final = rpc_of(*_ORDER, "ListOrders")
GET_SURVEY: Final = rpc_of(*_ORDER, "GetSurvey")
LIST_REFUNDS: Final = rpc_of(*_ORDER, "ListRefunds")
GET_ORDER: Final = rpc_of(*_ORDER, "GetOrder")
GET_LIFECYCLE: Final = rpc_of(*_ORDER, "GetLifecycle")
REPORT: Final = rpc_of(*_AUDIT, "Report")
LIST_DEAD_NOTIFIES: Final = rpc_of(*_AUDIT, "ListDeadNotifies")
RESEND_NOTIFIES: Final = rpc_of(*_AUDIT, "ResendNotifies")
GET_CATALOGUE: Final = rpc_of(*_CATALOGUE, "GetCatalogue")
GET_SANDBOX: Final = rpc_of(*_SANDBOX, "GetSandbox")
SET_SANDBOX_SCRIPT: Final = rpc_of(*_SANDBOX, "SetSandboxScript")
LIST_SANDBOX_LETTERS: Final = rpc_of(*_SANDBOX, "ListSandboxLetters")
LIST_ENDPOINTS: Final = rpc_of(*_ENDPOINT, "ListEndpoints")
LIST_USAGE: Final = rpc_of(*_REQUEST_LOG, "ListUsage")
LIST_ALERTS: Final = rpc_of(*_LEDGER, "ListAlerts")
SET_ALERT: Final = rpc_of(*_LEDGER, "SetAlert")
LIST_ACCOUNTS: Final = rpc_of(*_LEDGER, "ListAccounts")
GET_ACCOUNT: Final = rpc_of(*_LEDGER, "GetAccount")
GET_BALANCE: Final = rpc_of(*_LEDGER, "GetBalance")
LIST_SUPPLIERS: Final = rpc_of(*_SUPPLIER, "ListSuppliers")
SET_SUPPLIER_STATE: Final = rpc_of(*_SUPPLIER, "SetSupplierState")
LIST_OPERATORS: Final = rpc_of(*_IDENTITY, "ListOperators")
LIST_SESSIONS: Final = rpc_of(*_IDENTITY, "ListSessions")
END_SESSION: Final = rpc_of(*_IDENTITY, "EndSession")
LIST_API_TOKENS: Final = rpc_of(*_IDENTITY, "ListApiTokens")
CHANGE_PASSWORD: Final = rpc_of(*_IDENTITY, "ChangePassword")
GET_OPERATOR_NAMES: Final = rpc_of(*_IDENTITY, "GetOperatorNames")
LIST_RECORDS: Final = rpc_of(*_LEDGER, "ListRecords")
LIST_DELIVERIES: Final = rpc_of(*_DELIVERY, "ListDeliveries")
LIST_INCIDENTS: Final = rpc_of(*_DELIVERY, "ListIncidents")
APPLY_CATALOGUE: Final = rpc_of(*_CATALOGUE, "ApplyCatalogue")
LIST_UNMAPPED_CODES: Final = rpc_of(*_SUPPLIER, "ListUnmappedCodes")
APPLY_SUPPLIERS: Final = rpc_of(*_SUPPLIER, "ApplySuppliers")


def list_work(service: str) -> Rpc:
    """ListOpenWork of a service."""
    return rpc_of(service, WorkServiceStub, "core.v1.WorkService", "ListOpenWork")


def decide_work(service: str) -> Rpc:
    """DecideWork of a service."""
    return rpc_of(service, WorkServiceStub, "core.v1.WorkService", "DecideWork")


def _proposal(service: str, method: str) -> Rpc:
    return rpc_of(service, ProposalServiceStub, "core.v1.ProposalService", method)


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
    return rpc_of(service, OperationsServiceStub, "core.v1.OperationsService", method)


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
    return rpc_of(service, AuditLogServiceStub, "core.v1.AuditLogService", "ListAuditLog")
