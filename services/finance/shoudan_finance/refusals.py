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


class FieldInvalid(FinanceRefusal, code=Code.INVALID_ARGUMENT):
    """A field is missing or malformed."""

    field: str
    why: str
