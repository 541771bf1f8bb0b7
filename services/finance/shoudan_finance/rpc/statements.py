"""StatementService: messages to values and back."""

from __future__ import annotations

from typing import cast

from shoudan.finance.v1 import statement_service_pb2 as pb
from shoudan.finance.v1 import statement_service_pb2_grpc as pb_grpc
from shoudan_finance import statement_imports
from shoudan_finance.context import Context
from shoudan_finance.entries import Line
from shoudan_finance.refusals import FieldInvalid
from shoudan_finance.rpc.reading import (
    PARTS_MAX,
    before_of,
    page_size,
    parts_of,
    person,
    row_error,
    sha256_of,
    source_of,
)
from shoudan_finance.statement_imports import PART_BYTES, Asked, Found
from shoudan_finance.store.statements import Statement
from shoudan_finance.templates import BOOKS, Template
from shoudan_kit.rpc.messages import RpcContext, filled


class StatementServicer(pb_grpc.StatementServiceServicer):
    """The calls of StatementService."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def ListTemplates(
        self, request: pb.ListTemplatesRequest, context: RpcContext
    ) -> pb.ListTemplatesResponse:
        """All templates, by name."""
        found = self._context.templates.values()
        return pb.ListTemplatesResponse(templates=map(_template, found))

    async def StorePart(
        self, request: pb.StorePartRequest, context: RpcContext
    ) -> pb.StorePartResponse:
        """One part of a file."""
        if not 0 <= request.part_no < PARTS_MAX:
            raise FieldInvalid("part_no", f"is not within 0..{PARTS_MAX - 1}")
        if not 1 <= len(request.data) <= PART_BYTES:
            raise FieldInvalid("data", f"has not 1 to {PART_BYTES} bytes")
        sha256 = sha256_of(request.sha256)
        await statement_imports.store_part(self._context, sha256, request.part_no, request.data)
        return pb.StorePartResponse()

    async def ImportStatement(
        self, request: pb.ImportStatementRequest, context: RpcContext
    ) -> pb.ImportStatementResponse:
        """Import a file, or say what would be imported."""
        asked = self._asked(request)
        if request.dry_run:
            return _found(await statement_imports.dry_run(self._context, asked))
        return _found(await statement_imports.import_file(self._context, asked))

    async def ListStatements(
        self, request: pb.ListStatementsRequest, context: RpcContext
    ) -> pb.ListStatementsResponse:
        """Statements, newest first."""
        most, before = page_size(request.page_size), before_of(request.page_token)
        source = source_of(request.source)
        found = await statement_imports.page(self._context, source, before, most + 1)
        token = str(found[most - 1].statement_id) if len(found) > most else ""
        return pb.ListStatementsResponse(
            statements=map(_statement, found[:most]), next_page_token=token
        )

    async def GetStatement(
        self, request: pb.GetStatementRequest, context: RpcContext
    ) -> pb.GetStatementResponse:
        """One statement."""
        found = await statement_imports.get(self._context, request.statement_id)
        return pb.GetStatementResponse(statement=_statement(found))

    def _asked(self, request: pb.ImportStatementRequest) -> Asked:
        template, source = statement_imports.asked_of(
            self._context,
            template=request.template,
            source=request.source,
            file_name=request.file_name,
        )
        if request.supersedes < 0:
            raise FieldInvalid("supersedes", "is below zero")
        return Asked(
            sha256=sha256_of(request.sha256),
            parts=parts_of(request.parts),
            template=template,
            source=source,
            file_name=request.file_name,
            supersedes=request.supersedes,
            by=person(request.by),
        )


def _template(one: Template) -> pb.Template:
    book = cast("pb.Book.ValueType", int(BOOKS[one.book]))
    return filled(pb.Template, one, book=book, json=one.json())


def _statement(one: Statement) -> pb.Statement:
    return filled(
        pb.Statement,
        one,
        book=cast("pb.Book.ValueType", int(one.book)),
        status=cast("pb.StatementStatus.ValueType", int(one.status)),
        first_day="" if one.first_day is None else one.first_day.isoformat(),
        last_day="" if one.last_day is None else one.last_day.isoformat(),
        by=one.imported_by,
    )


def _found(found: Found) -> pb.ImportStatementResponse:
    return pb.ImportStatementResponse(
        statement=_statement(found.statement),
        existed=found.existed,
        errors=[row_error(one) for one in found.errors],
        error_count=found.error_count,
        preview=map(_row, found.preview),
    )


def _row(line: Line) -> pb.Row:
    row = pb.Row(
        row_no=line.row_no,
        kind=line.kind.name.lower(),
        our_no=line.our_no,
        their_no=line.their_no,
        settle_no=line.settle_no,
        account=line.account,
        face_micros=line.face_micros,
        amount_micros=line.amount_micros,
        outcome=line.outcome.name.lower(),
    )
    row.happen_time.FromDatetime(line.happen_time)
    return row
