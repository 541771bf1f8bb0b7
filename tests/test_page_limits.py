"""Every list of every service ends a page by a number of rows of its own, whatever is asked for."""

from __future__ import annotations

import re
from typing import Any

import pytest
from asyncpg.prepared_stmt import PreparedStatement
from google.protobuf.descriptor import FieldDescriptor as F
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from tests.test_every_field import BUGS, SERVICES, bearer, code_of, methods, serving

NAMES = re.compile(r"List|Search|Export|Report$|Get|Walk|Verify|RetryTasks|Replay")
SIZES = ("page_size", "limit", "rows")
TOKENS = {"page_token", "offset", "after"}
HUGE = 2**31 - 1
# Lists without a page, and what bounds them.
UNPAGED = {
    "ListEndpoints": "of one channel, cut at LISTED_MAX of the catalogue in memory",
    "GetSandbox": "cut at LISTED_MAX of what the sandbox plays",
    "ListSandboxLetters": "the last LETTERS_MAX of an inbox",
    "GetExceptionSheet": "at most SHEET_MAX, in a workbook",
    "GetEvidence": "the life of one order, and at most NOTES_MAX notes",
    "ListTargets": "at most TARGETS_MAX, of a file",
    "GetSurvey": "at most PARTS_MAX parts of a period",
    "GetSegments": "carriers by province, at most AREAS_MAX of an import",
    "GetRoute": "the parts of one order, at most PARTS_MAX of a binding",
    "ListRules": "at most a hundred, which people write",
    "ListSuppliers": "one row for each supplier and class, which people write",
    "ListUnmappedCodes": "cut at LISTED_MAX, of which CODES_MAX are kept of a channel",
    "ListStock": "cut at KINDS_MAX of kinds of goods",
    "ListAreas": "the areas of the catalogue, from memory",
    "ListAllModes": "cut at LIST_MAX of each kind",
    "ListPausedQueues": "cut at PAGE_MAX, which people stop",
    "ListResting": "cut at a thousand of each kind, from memory",
    "GetCatalogue": "what people sell and buy, which people write",
    "GetDictionary": "the columns of the code",
    "GetClock": "one for each shard",
    "GetOperatorNames": "of at most PAGE_MAX numbers",
    "GetHistory": "cut at ten pages, of at most PAGE_MAX keys",
    "ListAccountDays": "at most 366 days, of one account",
    "ExportAccountDays": "streamed by pages of a thousand, on from after_account_id",
    "ExportTrialBalance": "streamed in pages of a hundred holders",
    "ExportIncome": "lines, channels and suppliers, which people write",
    "ExportDebts": "streamed in pages of a hundred holders",
    "ExportLosses": "streamed in pages of a thousand",
    "ExportInvoices": "of one day, streamed by pages of a thousand",
    "ExportBill": "streamed by pieces of 1 MiB, on from a piece",
    "ExportMovements": "streamed by pages of a thousand, on from a key",
    "ExportRecords": "of at most a thousand pieces that are named, streamed by pages of a thousand",
    "GetStatementKeys": "the keys of the process",
    "ListTemplates": "at most a thousand, of a configuration file",
    "CheckDecisions": "one line for each of at most a thousand decisions, and their accounts",
    "GetException": "the last thousand notes of one exception, and a hundred disputes",
    "Report": "summed day by day; groups, never orders",
    "ExportAuditLog": "streamed in pages of a walk",
    "ExportTrades": "streamed in pages of a walk",
    "ExportRefunds": "streamed in pages of a walk",
    "Verify": "streamed in pages of a walk",
    "VerifyAgainst": "streamed in pages of a walk",
    "ListNotices": "the newest, cut at LIMIT_MAX",
    "ListSessions": "the open ones of one operator, at most OPEN_MAX",
    "ListApiTokens": "those in force of one operator, at most TOKENS_MAX",
}


def lists(method: MethodDescriptor) -> bool:
    """Whether a method answers with, or changes, as many rows as there are."""
    many = method.server_streaming or any(
        one.is_repeated and one.cpp_type == F.CPPTYPE_MESSAGE for one in method.output_type.fields
    )
    verb = NAMES.match(method.name)
    return verb is not None and (
        many or verb[0] in {"List", "Search", "Walk", "RetryTasks", "Replay"}
    )


@pytest.mark.slow
@pytest.mark.parametrize("service", SERVICES)
async def test_a_page_is_never_longer_than_the_service_allows(
    service: str, new_database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    fetch = PreparedStatement.fetch

    async def seen(self: Any, *args: Any, **options: Any) -> Any:
        asked.extend(args)
        return await fetch(self, *args, **options)

    monkeypatch.setattr(PreparedStatement, "fetch", seen)
    wrong: list[str] = []
    looked = 0
    async with serving(service, (await new_database(service)).service) as (process, channel):
        operator = await bearer(process)
        for path, method in methods(process):
            if not lists(method):
                continue
            fields = set(method.input_type.fields_by_name)
            size = next((one for one in SIZES if one in fields), "")
            if not (fields & TOKENS) and method.name not in UNPAGED:
                wrong.append(f"{path}: cannot be gone on with, or say in UNPAGED what bounds it")
            if not size:
                continue
            asked.clear()
            looked += 1
            request = GetMessageClass(method.input_type)(**{size: HUGE})
            code = await code_of(channel, path, method, request.SerializeToString(), operator)
            if code in BUGS:
                wrong.append(f"{path}: {code}")
            wrong += [f"{path}: {one} rows" for one in asked if one in (HUGE, HUGE + 1)]
    assert wrong == []
    assert looked > 0
