"""The finance service's methods that pages call, by their names in the contract."""

from __future__ import annotations

from typing import Any, Final

from shoudan.finance.v1.bill_service_pb2_grpc import BillServiceStub
from shoudan.finance.v1.book_service_pb2_grpc import BookServiceStub
from shoudan.finance.v1.exception_service_pb2_grpc import ExceptionServiceStub
from shoudan.finance.v1.finance_service_pb2_grpc import FinanceServiceStub
from shoudan.finance.v1.reconcile_service_pb2_grpc import ReconcileServiceStub
from shoudan.finance.v1.statement_service_pb2_grpc import StatementServiceStub
from shoudan_console.backend import Rpc

LONG_S: Final = 600.0  # an import of a million lines, the sums of a month


def _of(stub: Any, service: str, method: str) -> Rpc:
    return Rpc("finance", stub, f"shoudan.finance.v1.{service}/{method}")


LIST_DAYS: Final = _of(FinanceServiceStub, "FinanceService", "ListDays")
GET_DAY: Final = _of(FinanceServiceStub, "FinanceService", "GetDay")
EXPORT_ACCOUNT_DAYS: Final = _of(FinanceServiceStub, "FinanceService", "ExportAccountDays")
RECHECK_DAY: Final = _of(FinanceServiceStub, "FinanceService", "RecheckDay")
LIST_BILLS: Final = _of(BillServiceStub, "BillService", "ListBills")
GET_BILL: Final = _of(BillServiceStub, "BillService", "GetBill")
MAKE_BILL: Final = _of(BillServiceStub, "BillService", "MakeBill")
VERIFY_BILL: Final = _of(BillServiceStub, "BillService", "VerifyBill")
EXPORT_BILL: Final = _of(BillServiceStub, "BillService", "ExportBill")
LIST_STATEMENTS: Final = _of(StatementServiceStub, "StatementService", "ListStatements")
LIST_TEMPLATES: Final = _of(StatementServiceStub, "StatementService", "ListTemplates")
STORE_PART: Final = _of(StatementServiceStub, "StatementService", "StorePart")
IMPORT_STATEMENT: Final = _of(StatementServiceStub, "StatementService", "ImportStatement")
GET_STATEMENT: Final = _of(StatementServiceStub, "StatementService", "GetStatement")
LIST_RUNS: Final = _of(ReconcileServiceStub, "ReconcileService", "ListRuns")
LIST_EXCEPTIONS: Final = _of(ExceptionServiceStub, "ExceptionService", "ListExceptions")
GET_EXCEPTION: Final = _of(ExceptionServiceStub, "ExceptionService", "GetException")
DECIDE_EXCEPTIONS: Final = _of(ExceptionServiceStub, "ExceptionService", "DecideExceptions")
CHECK_DECISIONS: Final = _of(ExceptionServiceStub, "ExceptionService", "CheckDecisions")
ASSIGN_EXCEPTIONS: Final = _of(ExceptionServiceStub, "ExceptionService", "AssignExceptions")
GET_EXCEPTION_SHEET: Final = _of(ExceptionServiceStub, "ExceptionService", "GetExceptionSheet")
CHECK_EXCEPTION_SHEET: Final = _of(ExceptionServiceStub, "ExceptionService", "CheckExceptionSheet")
GET_EVIDENCE: Final = _of(ExceptionServiceStub, "ExceptionService", "GetEvidence")
ASK_ABOUT_EXCEPTIONS: Final = _of(ExceptionServiceStub, "ExceptionService", "AskAboutExceptions")
RESEND_EXCEPTION_NOTIFIES: Final = _of(
    ExceptionServiceStub, "ExceptionService", "ResendExceptionNotifies"
)
OPEN_DISPUTE: Final = _of(ExceptionServiceStub, "ExceptionService", "OpenDispute")
ANSWER_DISPUTE: Final = _of(ExceptionServiceStub, "ExceptionService", "AnswerDispute")
GET_DISPUTE: Final = _of(ExceptionServiceStub, "ExceptionService", "GetDispute")
LIST_DISPUTES: Final = _of(ExceptionServiceStub, "ExceptionService", "ListDisputes")
LIST_PERIODS: Final = _of(BookServiceStub, "BookService", "ListPeriods")
LIST_REOPENINGS: Final = _of(BookServiceStub, "BookService", "ListReopenings")
CLOSE_PERIOD: Final = _of(BookServiceStub, "BookService", "ClosePeriod")
REOPEN_PERIOD: Final = _of(BookServiceStub, "BookService", "ReopenPeriod")
COMMENT_EXCEPTION: Final = _of(ExceptionServiceStub, "ExceptionService", "CommentException")
