"""What every answer says to the browser, and what a form must show before anything is done."""

from __future__ import annotations

import hmac
from collections.abc import AsyncGenerator
from ipaddress import ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

from python_multipart.exceptions import MultipartParseError
from starlette.datastructures import QueryParams, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import Response

from shoudan_console.config import ConsoleSettings

SESSION: Final = "session"  # the cookie
FORM: Final = "application/x-www-form-urlencoded"
UPLOAD: Final = "multipart/form-data"
FORM_BYTES_MAX: Final = 65_536
FIELDS_MAX: Final = 2_000
# Nothing but our own files; no script or style inside a page, so that no text of others can be one.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=()",
}
PERSONAL: Final = "no-store"
HSTS: Final = "max-age=31536000"


class FormRefused(Exception):
    """A form without the token of its page, from elsewhere, too large or of another kind."""


def protect(response: Response, settings: ConsoleSettings, cache: str = PERSONAL) -> Response:
    """Add what every answer says."""
    for name, value in HEADERS.items():
        response.headers[name] = value
    response.headers["cache-control"] = cache
    if settings.secure:
        response.headers["strict-transport-security"] = HSTS
    return response


def cookie_name(settings: ConsoleSettings, name: str) -> str:
    """A cookie that a browser takes from this very host and over TLS alone, where there is TLS."""
    return f"__Host-{name}" if settings.secure else name


def set_cookie(
    response: Response,
    settings: ConsoleSettings,
    name: str,
    value: str,
    seconds: float | None = None,
    *,
    readable: bool = False,
) -> None:
    """Give the browser a cookie; scripts read it only when `readable`."""
    response.set_cookie(
        cookie_name(settings, name),
        value,
        max_age=None if seconds is None else int(seconds),
        path="/",
        secure=settings.secure,
        httponly=not readable,
        samesite="lax",
    )


def drop_cookie(response: Response, settings: ConsoleSettings, name: str) -> None:
    """Take a cookie back."""
    response.delete_cookie(
        cookie_name(settings, name),
        path="/",
        secure=settings.secure,
        httponly=True,
        samesite="lax",
    )


async def read_upload(
    request: Request, bytes_max: int, text_bytes_max: int = FORM_BYTES_MAX
) -> tuple[QueryParams, UploadFile | None]:
    """The fields of a form that was sent, and its file when it has one. Raises FormRefused."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != UPLOAD:
        return await read_form(request), None

    async def bounded() -> AsyncGenerator[bytes]:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > bytes_max + FORM_BYTES_MAX:
                raise MultiPartException("too large")
            yield chunk

    most = {"max_files": 1, "max_fields": FIELDS_MAX, "max_part_size": text_bytes_max}
    try:
        found = await MultiPartParser(request.headers, bounded(), **most).parse()
    except (MultiPartException, MultipartParseError) as error:
        raise FormRefused(str(error)) from None
    fields = [(name, value) for name, value in found.multi_items() if isinstance(value, str)]
    files = [value for _, value in found.multi_items() if not isinstance(value, str)]
    return QueryParams(fields), files[0] if files else None


async def read_form(request: Request) -> QueryParams:
    """The fields of a form that was sent. Raises FormRefused."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise FormRefused("not a form")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES_MAX:
            raise FormRefused("too large")
    if body.count(b"&") > FIELDS_MAX:
        raise FormRefused("too many fields")
    try:
        return QueryParams(body.decode("ascii"))
    except UnicodeDecodeError:
        raise FormRefused("not a form") from None


def check_form(request: Request, form: QueryParams, csrf: str) -> None:
    """It was sent by a page of ours to this very session. Raises FormRefused."""
    given = form.get("csrf") or request.headers.get("x-csrf-token", "")
    if not csrf or not hmac.compare_digest(given.encode(), csrf.encode()):
        raise FormRefused("no token, or one of another session")
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host", ""):
        raise FormRefused("sent from another site")
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise FormRefused("sent from another site")


def address_of(request: Request, settings: ConsoleSettings) -> str:
    """Where the browser is: the last address a trusted proxy names, else the connection's."""
    peer = request.client.host if request.client is not None else ""
    named = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    try:
        if not any(ip_address(peer) in ip_network(one) for one in settings.trusted_proxies):
            return peer
        return str(ip_address(named))
    except ValueError:
        return peer
