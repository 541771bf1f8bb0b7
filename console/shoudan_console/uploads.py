"""Files that a browser sends, given to the finance service in parts; they are known by their SHA-256."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Final

from starlette.datastructures import UploadFile

from shoudan.finance.v1 import statement_service_pb2 as pb
from shoudan_console import finance_calls as calls
from shoudan_console.visits import Visit

PART_BYTES: Final = 2**20  # as the service wants them
NAME_CHARS_MAX: Final = 128


@dataclass(frozen=True, slots=True)
class Stored:
    """A file that the finance service has."""

    sha256: bytes
    parts: int
    name: str


async def store(visit: Visit, file: UploadFile) -> Stored:
    """Give the file to the service part by part. What is stored already stays. Raises Refused, Away."""
    sha, size = hashlib.sha256(), 0
    while part := await file.read(PART_BYTES):
        sha.update(part)
        size += len(part)
    await file.seek(0)
    parts = -(-size // PART_BYTES)
    for part_no in range(parts):
        data = await file.read(PART_BYTES)
        request = pb.StorePartRequest(sha256=sha.digest(), part_no=part_no, data=data)
        await visit.ask(calls.STORE_PART, request)
    return Stored(sha.digest(), parts, plain_name(file.filename or ""))


def plain_name(name: str) -> str:
    """Its name without folders, of either kind, and without what cannot be printed."""
    last = PureWindowsPath(PurePosixPath(name).name).name
    return "".join(one for one in last if one.isprintable())[-NAME_CHARS_MAX:]
