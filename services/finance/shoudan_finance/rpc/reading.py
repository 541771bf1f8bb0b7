"""Days, pages, sources and persons as requests name them; what is wrong with a row, as it is answered."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

from shoudan.finance.v1 import statement_service_pb2 as pb
from shoudan_finance.refusals import FieldInvalid
from shoudan_finance.row_errors import Wrong
from shoudan_kit import clock
from shoudan_kit.db.pages import ID_MAX
from shoudan_kit.rpc.messages import filled

PAGE_DEFAULT: Final = 100
PAGE_MAX: Final = 1000
SOURCE_MAX: Final = 32
PERSON_MAX: Final = 64
TOKEN_MAX: Final = 19  # digits of a number
PARTS_MAX: Final = 1024  # of a file
SHA256_BYTES: Final = 32
BEFORE_ALL: Final = date(1970, 1, 1)
LAST_DAY: Final = date(2999, 12, 31)


def day_of(field: str, value: str) -> date:
    """A day. Raises FieldInvalid."""
    day = clock.day_of(value)
    if day is None or not BEFORE_ALL < day <= LAST_DAY:
        raise FieldInvalid(field, "is no day of the form yyyy-mm-dd")
    return day


def days_after(from_day: str, page_token: str) -> date:
    """Behind which day a page of days begins. Raises FieldInvalid."""
    if page_token:
        return day_of("page_token", page_token)
    return day_of("from_day", from_day) - timedelta(days=1) if from_day else BEFORE_ALL


def page_size(asked: int) -> int:
    """How many rows a page has. Raises FieldInvalid."""
    if not 0 <= asked <= PAGE_MAX:
        raise FieldInvalid("page_size", f"is not within 0..{PAGE_MAX}")
    return asked or PAGE_DEFAULT


def before_of(token: str) -> int:
    """Below which number a page begins. Raises FieldInvalid."""
    if not token:
        return ID_MAX
    if len(token) > TOKEN_MAX or not (token.isascii() and token.isdecimal()) or int(token) > ID_MAX:
        raise FieldInvalid("page_token", "is none of ours")
    return int(token)


def source_of(given: str) -> str:
    """A source, or none. Raises FieldInvalid."""
    if len(given) > SOURCE_MAX or "\0" in given:
        raise FieldInvalid("source", f"has more than {SOURCE_MAX} characters")
    return given


def person(given: str) -> str:
    """A person's name, or none. Raises FieldInvalid."""
    if len(given) > PERSON_MAX or "\0" in given:
        raise FieldInvalid("by", f"has more than {PERSON_MAX} characters")
    return given


def parts_of(given: int) -> int:
    """How many parts a file has. Refuses FieldInvalid."""
    if not 1 <= given <= PARTS_MAX:
        raise FieldInvalid("parts", f"is not within 1..{PARTS_MAX}")
    return given


def sha256_of(given: bytes) -> bytes:
    """The SHA-256 of a file. Refuses FieldInvalid."""
    if len(given) != SHA256_BYTES:
        raise FieldInvalid("sha256", f"has not {SHA256_BYTES} bytes")
    return given


def row_error(one: Wrong) -> pb.RowError:
    """What is wrong with a row, by its code and in both languages."""
    return filled(pb.RowError, one)
