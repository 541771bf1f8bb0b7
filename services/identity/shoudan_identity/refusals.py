"""Everything this service says no to: one class per reason of error_reason.proto."""

from __future__ import annotations

from grpc import StatusCode as Code

from shoudan.identity.v1 import error_reason_pb2
from shoudan_kit.rpc.refusal import NamedRefusal


class IdentityRefusal(NamedRefusal):
    """A refusal of this service."""

    domain, reasons = "identity.shoudan", error_reason_pb2.ErrorReason


class LoginRefused(IdentityRefusal, code=Code.UNAUTHENTICATED):
    """Name, password or code is wrong, or the operator is disabled: which is not said."""


class TooManyAttempts(IdentityRefusal, code=Code.RESOURCE_EXHAUSTED):
    """This address or device failed too often; nothing was checked."""

    retry_after_s: int


class Overloaded(IdentityRefusal, code=Code.RESOURCE_EXHAUSTED):
    """Too many passwords wait to be hashed."""


class TotpRequired(IdentityRefusal):
    """The password is right; a code is missing."""


class PasswordMustChange(IdentityRefusal):
    """The one-time password is right; a new one is missing."""


class PasswordWeak(IdentityRefusal, code=Code.INVALID_ARGUMENT):
    """The new password is not accepted."""

    why: str


class SessionEnded(IdentityRefusal, code=Code.UNAUTHENTICATED):
    """The session is over, or the refresh token is none of its own."""

    why: str


class NotFound(IdentityRefusal, code=Code.NOT_FOUND):
    """No such operator, session or API token."""

    what: str
    id: str


class FieldInvalid(IdentityRefusal, code=Code.INVALID_ARGUMENT):
    """A field of a call is missing or malformed."""

    field: str
    why: str


class NameTaken(IdentityRefusal, code=Code.ALREADY_EXISTS):
    """An operator or an API token of this name exists."""

    name: str


class LastAdmin(IdentityRefusal):
    """No enabled operator with the role admin would be left."""

    name: str


class NotAllowed(IdentityRefusal, code=Code.PERMISSION_DENIED):
    """The caller lacks a role, or has lost it since its token was issued."""

    needed: str


class CodeRefused(IdentityRefusal):
    """The code is wrong, or was used before."""


class TokensFull(IdentityRefusal, code=Code.RESOURCE_EXHAUSTED):
    """The operator has as many API tokens as one may have."""

    most: int


class KeyTooYoung(IdentityRefusal):
    """The next key was published too recently for every verifier to know it."""

    left_s: int


class ApiTokenRefused(IdentityRefusal, code=Code.UNAUTHENTICATED):
    """Unknown, revoked or expired, or its operator is disabled."""


class SecretUnreadable(IdentityRefusal):
    """The key that sealed a stored secret is not configured."""

    what: str


class ProviderOff(IdentityRefusal):
    """No OpenID provider is configured."""


class ProviderUnavailable(IdentityRefusal, code=Code.UNAVAILABLE):
    """The OpenID provider did not answer, or not as one; nothing was decided."""

    step: str


class NotLinked(IdentityRefusal, code=Code.UNAUTHENTICATED):
    """The provider's person is no operator here; an admin links one to this subject."""

    subject: str


class SubjectTaken(IdentityRefusal, code=Code.ALREADY_EXISTS):
    """Another operator is linked to this subject."""

    subject: str
