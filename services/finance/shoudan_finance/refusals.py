"""Everything the finance service says no to: one class per reason of error_reason.proto."""

from __future__ import annotations

from grpc import StatusCode as Code

from shoudan.finance.v1 import error_reason_pb2
from shoudan_kit.rpc.refusal import NamedRefusal


class FinanceRefusal(NamedRefusal):
    """A refusal of this service."""

    domain, reasons = "finance.shoudan", error_reason_pb2.ErrorReason


class DayNotFound(FinanceRefusal, code=Code.NOT_FOUND):
    """The ledger has not closed the day, or it is not known here yet."""

    day: str


class DayIncomplete(FinanceRefusal):
    """The day's movements are not proved to be the ledger's."""

    day: str
    status: str


class TradeDayNotFound(FinanceRefusal, code=Code.NOT_FOUND):
    """Finance does not know the day: the ledger has not closed it yet."""

    day: str


class TradeDayIncomplete(FinanceRefusal):
    """Not all trades of the day have been fetched."""

    day: str


class BillNotFound(FinanceRefusal, code=Code.NOT_FOUND):
    """No such bill was asked for."""

    bill_id: str


class BillNotPublished(FinanceRefusal):
    """The bill is being made, or could not be made."""

    bill_id: str
    status: str
    what: str


class BillLinkNotFound(FinanceRefusal, code=Code.NOT_FOUND):
    """The token is for no file, or not any more."""


class ExceptionsOpen(FinanceRefusal):
    """Differences of the period wait for a decision: more than the settings allow."""

    open: int
    most: int


class PeriodNotClosed(FinanceRefusal, code=Code.NOT_FOUND):
    """The period is not closed."""

    first_day: str
    last_day: str


class PeriodWithin(FinanceRefusal):
    """A longer period that has it within is closed: it is opened again first."""

    first_day: str
    last_day: str


class FieldInvalid(FinanceRefusal, code=Code.INVALID_ARGUMENT):
    """A field is missing or malformed."""

    field: str
    why: str


class TemplateNotFound(FinanceRefusal, code=Code.NOT_FOUND):
    """No template of this name is configured."""

    template: str


class FileIncomplete(FinanceRefusal):
    """Parts of the file are missing, or together they do not have its SHA-256."""

    why: str


class StatementInvalid(FinanceRefusal):
    """Rows of the file are wrong, or its footer does not add up; nothing was imported."""

    errors: int
    row_no: int
    why: str


class StatementTooLarge(FinanceRefusal, code=Code.INVALID_ARGUMENT):
    """The file, or what it unpacks to, is beyond a bound."""

    what: str
    most: int


class StatementNotFound(FinanceRefusal, code=Code.NOT_FOUND):
    """There is no such statement."""

    statement_id: int


class StatementSuperseded(FinanceRefusal):
    """The statement that would be corrected has been corrected before, or is another source's."""

    statement_id: int


class TargetNotFound(FinanceRefusal, code=Code.NOT_FOUND):
    """No target of this name is configured."""

    target: str


class RunNotFound(FinanceRefusal, code=Code.NOT_FOUND):
    """There is no such run."""

    run_id: int


class ExceptionNotFound(FinanceRefusal, code=Code.NOT_FOUND):
    """There is no such exception."""

    exception_id: int


class ExceptionDecided(FinanceRefusal):
    """The exception is decided, or its counterpart has come."""

    exception_id: int
    status: str


class DisputeNotFound(FinanceRefusal, code=Code.NOT_FOUND):
    """There is no such dispute."""

    dispute_id: int
