"""PersonalService: walks the rows that carry accounts, seals what lies in clear, finds and erases one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import grpc

from shoudan.core.v1 import personal_service_pb2 as pb
from shoudan.core.v1 import personal_service_pb2_grpc
from shoudan_kit.db.text_statements import statement, unnest
from shoudan_kit.rpc.messages import ONE_SHARD, RpcContext
from shoudan_kit.secrets.sealing import Place, SealedColumn, is_sealed
from shoudan_kit.tasks.unit_of_work import UnitOfWork

NAME: Final = "shoudan.core.v1.PersonalService"
ROWS_DEFAULT: Final = 2_000
ROWS_MAX: Final = 5_000
WORDS_MAX: Final = 256
ID_MAX: Final = 2**63 - 1


class Personal(personal_service_pb2_grpc.PersonalServiceServicer):
    """PersonalService over one table of one service."""

    def __init__(
        self, service: str, place: Place, column: SealedColumn, work: Callable[[str], UnitOfWork]
    ) -> None:
        self._service, self._place, self._column, self._work = service, place, column, work
        key, text, hashed = place.key, place.column, place.hashed
        self._page = statement(f"""
            SELECT {key} AS key, {text} AS stored, {hashed or "NULL"} AS hashed FROM {place.table}
            WHERE {key} > :after ORDER BY {key} LIMIT :rows
            """)
        # What another process changed meanwhile is left to the next walk.
        also = f", {hashed} = given.hashed" if hashed else ""
        self._seal = statement(f"""
            UPDATE {place.table} SET {text} = given.sealed{also}
            FROM {unnest(key="bigint", stored="text", sealed="text", hashed="bytea")}
            WHERE {key} = given.key AND {text} = given.stored
            """)
        self._erase = statement(f"""
            UPDATE {place.table} SET {text} = ''
            WHERE {key} = ANY(CAST(:keys AS bigint[])) AND NOT ({place.open}) RETURNING {key}
            """)

    async def WalkAccounts(
        self, request: pb.WalkAccountsRequest, context: RpcContext
    ) -> pb.WalkAccountsResponse:
        """One page of rows in one transaction."""
        if wrong := _wrong(request):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, wrong)
        most = request.rows or ROWS_DEFAULT
        async with self._work("personal.walk") as work:
            binds = {"after": request.after, "rows": most}
            rows = (await work.db.execute(self._page, binds)).all()
            clear = [row for row in rows if row.stored and not is_sealed(row.stored)]
            if clear and self._column.seals:
                await work.db.execute(self._seal, self._sealed(clear))
            found = [row.key for row in rows if self._finds(row.stored, request.account)]
            erased = await self._erased(work, found, request) if request.erase and found else []
        return pb.WalkAccountsResponse(
            next=rows[-1].key if rows else request.after,
            done=len(rows) < most,
            looked=len(rows),
            sealed=len(clear) if self._column.seals else 0,
            found=found,
            erased=erased,
        )

    def _finds(self, stored: str, account: str) -> bool:
        return bool(account) and self._column.holds(stored, account)

    def _sealed(self, clear: Sequence[Any]) -> dict[str, list[Any]]:
        column = self._column
        return {
            "key": [row.key for row in clear],
            "stored": [row.stored for row in clear],
            "sealed": [column.seal(row.key, row.stored) for row in clear],
            "hashed": [column.ring.keyed(row.hashed) if row.hashed else b"" for row in clear],
        }

    async def _erased(
        self, work: UnitOfWork, found: list[int], request: pb.WalkAccountsRequest
    ) -> list[int]:
        """Those that were not open; who erased them and why goes with them."""
        erased = sorted((await work.db.execute(self._erase, {"keys": found})).scalars())
        for key in erased:
            work.events.add(
                f"shoudan.events.{self._service}.account.erased",
                key=str(key),
                body=pb.AccountErased(numbers=[key], by=request.by, reason=request.reason),
                tag="个人信息",
                text=f"account erased by {request.by}: {request.reason}",
            )
        return erased


def _wrong(request: pb.WalkAccountsRequest) -> str:
    """What is wrong with a request; empty for nothing."""
    if request.shard:
        return ONE_SHARD
    if not 0 <= request.after <= ID_MAX:
        return "after is the next of an answer, or 0"
    if not 0 <= request.rows <= ROWS_MAX:
        return f"rows is 1 to {ROWS_MAX}"
    if len(request.account) > WORDS_MAX or "\0" in request.account:
        return f"account has at most {WORDS_MAX} characters, none of them NUL"
    if not request.erase:
        return ""
    if not request.account:
        return "say which account to erase"
    for name, text in (("by", request.by), ("reason", request.reason)):
        if not 1 <= len(text) <= WORDS_MAX or not text.isprintable():
            return f"{name} is 1 to {WORDS_MAX} printable characters"
    return ""
