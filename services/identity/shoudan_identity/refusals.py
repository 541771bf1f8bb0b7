"""Everything this service says no to: one class per reason of error_reason.proto."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import grpc

from shoudan_kit.rpc.refusal import Refusal

DOMAIN = "identity.shoudan"


@dataclass
class LoginRefused(Refusal):
    """Name, password or code is wrong, or the operator is disabled: which is not said."""

    code = grpc.StatusCode.UNAUTHENTICATED
    domain: ClassVar[str] = DOMAIN
    reason = "ERROR_REASON_LOGIN_REFUSED"


@dataclass
class TooManyAttempts(Refusal):
    """This address or device failed too often; nothing was checked."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    domain: ClassVar[str] = DOMAIN
    reason = "ERROR_REASON_TOO_MANY_ATTEMPTS"
    retry_after_s: int


@dataclass
class Overloaded(Refusal):
    """Too many passwords wait to be hashed."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    domain: ClassVar[str] = DOMAIN
    reason = "ERROR_REASON_OVERLOADED"


@dataclass
class TotpRequired(Refusal):
    """The password is right; a code is missing."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    domain: ClassVar[str] = DOMAIN
    reason = "ERROR_REASON_TOTP_REQUIRED"


@dataclass
class PasswordMustChange(Refusal):
    """The one-time password is right; a new one is missing."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    domain: ClassVar[str] = DOMAIN
    reason = "ERROR_REASON_PASSWORD_MUST_CHANGE"


@dataclass
class PasswordWeak(Refusal):
    """The new password is not accepted."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    domain: ClassVar[str] = DOMAIN
    reason = "ERROR_REASON_PASSWORD_WEAK"
    why: str


@dataclass
class SessionEnded(Refusal):
    """The session is over, or the refresh token is none of its own."""

    code = grpc.StatusCode.UNAUTHENTICATED
    domain: ClassVar[str] = DOMAIN
    reason = "ERROR_REASON_SESSION_ENDED"
    why: str


@dataclass
class NotFound(Refusal):
    """No such operator, session or API token."""

    code = grpc.StatusCode.NOT_FOUND
    domain: ClassVar[str] = DOMAIN
    reason = "ERROR_REASON_NOT_FOUND"
    what: str
    id: str


@dataclass
class FieldInvalid(Refusal):
    """A field of a call is missing or malformed."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    domain: ClassVar[str] = DOMAIN
    reason = "ERROR_REASON_FIELD_INVALID"
    field: str
    why: str


@dataclass
class NameTaken(Refusal):
    """An operator or an API token of this name exists."""

    code = grpc.StatusCode.ALREADY_EXISTS
    domain: ClassVar[str] = DOMAIN
    reason = "ERROR_REASON_NAME_TAKEN"
    name: str


@dataclass
class LastAdmin(Refusal):
    """No enabled operator with the role admin would be left."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    domain: ClassVar[str] = DOMAIN
    reason = "ERROR_REASON_LAST_ADMIN"
    name: str


@dataclass
class NotAllowed(Refusal):
    """The caller lacks a role, or has lost it since its token was issued."""

    code = grpc.StatusCode.PERMISSION_DENIED
    domain: ClassVar[str] = DOMAIN
    reason = "ERROR_REASON_NOT_ALLOWED"
    needed: str


@dataclass
class CodeRefused(Refusal):
    """The code is wrong, or was used before."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    domain: ClassVar[str] = DOMAIN
    reason = "ERROR_REASON_CODE_REFUSED"


@dataclass
class TokensFull(Refusal):
    """The operator has as many API tokens as one may have."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    domain: ClassVar[str] = DOMAIN
    reason = "ERROR_REASON_TOKENS_FULL"
    most: int


@dataclass
class KeyTooYoung(Refusal):
    """The next key was published too recently for every verifier to know it."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    domain: ClassVar[str] = DOMAIN
    reason = "ERROR_REASON_KEY_TOO_YOUNG"
    left_s: int


@dataclass
class ApiTokenRefused(Refusal):
    """Unknown, revoked or expired, or its operator is disabled."""

    code = grpc.StatusCode.UNAUTHENTICATED
    domain: ClassVar[str] = DOMAIN
    reason = "ERROR_REASON_API_TOKEN_REFUSED"


@dataclass
class SecretUnreadable(Refusal):
    """The key that sealed a stored secret is not configured."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    domain: ClassVar[str] = DOMAIN
    reason = "ERROR_REASON_SECRET_UNREADABLE"
    what: str
