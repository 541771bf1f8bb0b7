"""Promises of files that browsers send: bounded, and named without folders."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.requests import Request

from shoudan_console.security import FORM_BYTES_MAX, FormRefused, read_upload
from shoudan_console.uploads import plain_name

FORM = (
    b'--x\r\ncontent-disposition: form-data; name="do"\r\n\r\nread\r\n'
    b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.csv"\r\n\r\n%b\r\n--x--\r\n'
)


def request(body: bytes, kind: str = "multipart/form-data; boundary=x") -> Request:
    """A form as a browser sends it, in pieces."""
    pieces = [body[at : at + 50_000] for at in range(0, len(body), 50_000)]

    async def receive() -> Any:
        body = pieces.pop(0) if pieces else b""
        return {"type": "http.request", "body": body, "more_body": bool(pieces)}

    headers = [(b"content-type", kind.encode())]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


async def test_a_form_may_carry_one_file() -> None:
    fields, file = await read_upload(request(FORM % b"1,2"), 1000)
    assert dict(fields) == {"do": "read"}
    assert file is not None
    assert (file.filename, await file.read()) == ("a.csv", b"1,2")
    await file.close()
    plain, none = await read_upload(request(b"do=read", "application/x-www-form-urlencoded"), 1000)
    assert (dict(plain), none) == ({"do": "read"}, None)


@pytest.mark.parametrize(
    "body",
    [
        FORM % bytes(FORM_BYTES_MAX + 2000),  # more than the bound and what a form may have
        (FORM % b"1")[:-7] + FORM % b"2",  # two files
        b"no boundary at all",
        (FORM % b"1").replace(b"read", bytes(FORM_BYTES_MAX + 1)),  # a field as long as a file
    ],
)
async def test_what_is_too_much_or_no_form_is_refused(body: bytes) -> None:
    with pytest.raises(FormRefused):
        await read_upload(request(body), 1000)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("books.csv", "books.csv"),
        ("C:\\temp\\books.csv", "books.csv"),
        ("../../etc/books.csv", "books.csv"),
        ("a\x00b\n.csv", "ab.csv"),
        ("对账单.csv", "对账单.csv"),
        ("", ""),
    ],
)
def test_a_name_has_no_folders_and_can_be_printed(given: str, name: str) -> None:
    assert plain_name(given) == name
