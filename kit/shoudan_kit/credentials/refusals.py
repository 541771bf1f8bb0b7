"""Everything credentials are refused for: one class per reason of core's error_reason.proto."""

from __future__ import annotations

from grpc import StatusCode as Code

from shoudan_kit.rpc.refusal import KitRefusal


class CredentialDiffers(KitRefusal, code=Code.ALREADY_EXISTS):
    """The request_key was used for another credential."""

    request_key: str


class TooManyCredentials(KitRefusal):
    """The owner has as many live credentials as it may have."""

    kind: str
    owner: str
    live_max: int


class NoCredential(KitRefusal, code=Code.NOT_FOUND):
    """There is no such credential, or none in force that could be replaced."""

    what: str


class RotationUnderWay(KitRefusal):
    """One credential of the owner is being replaced already."""

    kind: str
    owner: str
    credential_id: int
    until: str


class NoSealKey(KitRefusal):
    """The service has no key of its own to seal secrets with."""

    what: str


class CredentialFieldInvalid(KitRefusal, code=Code.INVALID_ARGUMENT):
    """A field of the request cannot be taken; the value is never repeated."""

    field: str
    why: str
