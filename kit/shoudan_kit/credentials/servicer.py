"""CredentialService over the credentials of one service: messages to values and back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from shoudan.core.v1 import credential_service_pb2 as pb
from shoudan.core.v1 import credential_service_pb2_grpc
from shoudan_kit.credentials.book import Credentials
from shoudan_kit.credentials.kinds import GIVEN_ONLY, owner_mistake
from shoudan_kit.credentials.live import USED_MAX, LiveSecret
from shoudan_kit.credentials.refusals import CredentialFieldInvalid
from shoudan_kit.credentials.rows import CredentialRow, NewCredential
from shoudan_kit.rpc.caller import Caller
from shoudan_kit.rpc.callers import current_caller
from shoudan_kit.rpc.messages import RpcContext, filled
from shoudan_kit.secrets import named_secret

NAME: Final = "shoudan.core.v1.CredentialService"
WORDS_MAX: Final = 256
KEY_CHARS_MAX: Final = 64
OVERLAP_S_MAX: Final = 90 * 86_400
PAGE_DEFAULT: Final = 100
PAGE_MAX: Final = 1_000
ID_MAX: Final = 2**63 - 1
WAIT_MS_MAX: Final = 2_000


class CredentialServicer(credential_service_pb2_grpc.CredentialServiceServicer):
    """The calls of CredentialService."""

    def __init__(self, book: Credentials, *, prod: bool) -> None:
        self._book, self._prod = book, prod

    async def IssueCredential(
        self, request: pb.IssueCredentialRequest, context: RpcContext
    ) -> pb.IssueCredentialResponse:
        """One more secret of an owner."""
        begins, ends = self._times(request)
        given = self._new(request, not_before=begins, expire_time=ends)
        made = await self._book.store(given)
        return pb.IssueCredentialResponse(
            credential=self._message(made.row), secret=made.secret, repeated=made.repeated
        )

    async def RotateCredential(
        self, request: pb.RotateCredentialRequest, context: RpcContext
    ) -> pb.RotateCredentialResponse:
        """A new secret instead of the others."""
        if not 0 <= request.overlap_s <= OVERLAP_S_MAX:
            raise CredentialFieldInvalid("overlap_s", f"0 to {OVERLAP_S_MAX}")
        made = await self._book.store(self._new(request, overlap_s=request.overlap_s))
        return pb.RotateCredentialResponse(
            credential=self._message(made.row),
            secret=made.secret,
            repeated=made.repeated,
            retiring=map(self._message, made.retiring),
        )

    async def RevokeCredential(
        self, request: pb.RevokeCredentialRequest, context: RpcContext
    ) -> pb.RevokeCredentialResponse:
        """End one now."""
        _check_words(by=request.by, reason=request.reason)
        if request.credential_id <= 0:
            raise CredentialFieldInvalid("credential_id", "is the number of a credential")
        row, repeated = await self._book.revoke(request.credential_id, request.by, request.reason)
        return pb.RevokeCredentialResponse(credential=self._message(row), repeated=repeated)

    async def ListCredentials(
        self, request: pb.ListCredentialsRequest, context: RpcContext
    ) -> pb.ListCredentialsResponse:
        """One page."""
        most, after = request.page_size or PAGE_DEFAULT, request.page_token or "0"
        if not 1 <= most <= PAGE_MAX:
            raise CredentialFieldInvalid("page_size", f"1 to {PAGE_MAX}")
        if not (after.isascii() and after.isdigit() and int(after[:20]) <= ID_MAX):
            raise CredentialFieldInvalid("page_token", "is that of a page")
        if request.kind:
            self._check_kind(request.kind)
        if request.owner and (owner_mistake(request.owner) or not request.kind):
            raise CredentialFieldInvalid("owner", "is an owner, with its kind")
        rows = await self._book.page(
            request.kind, request.owner, int(after), most, ended=request.ended
        )
        return pb.ListCredentialsResponse(
            credentials=map(self._message, rows),
            next_page_token=str(rows[-1].credential_id) if len(rows) == most else "",
            kinds=self._book.kinds,
        )

    async def FetchCredentials(
        self, request: pb.FetchCredentialsRequest, context: RpcContext
    ) -> pb.FetchCredentialsResponse:
        """All live secrets of some kinds, from memory; a caller that has them waits for a change."""
        for kind in request.kinds:
            self._check_kind(kind)
        if len(request.used) > USED_MAX:
            raise CredentialFieldInvalid("used", f"at most {USED_MAX}")
        if not 0 <= request.wait_ms <= WAIT_MS_MAX:
            raise CredentialFieldInvalid("wait_ms", f"0 to {WAIT_MS_MAX}")
        for credential_id in request.used:
            self._book.live.use(credential_id)
        if request.version > self._book.version:  # another process has changed them since our look
            await self._book.refresh()
        if request.wait_ms:
            await self._book.changed(request.version, request.wait_ms / 1000)
        version = self._book.version
        if request.version == version:
            return pb.FetchCredentialsResponse(version=version, unchanged=True)
        wanted = frozenset(request.kinds)
        live = (one for one in self._book.live.all() if one.kind in wanted)
        return pb.FetchCredentialsResponse(version=version, secrets=map(live_message, live))

    def _new(
        self, request: pb.IssueCredentialRequest | pb.RotateCredentialRequest, **more: Any
    ) -> NewCredential:
        """What is asked for, checked. Refuses CredentialFieldInvalid."""
        _check_words(by=request.by, reason=request.reason)
        key = request.request_key
        if not (1 <= len(key) <= KEY_CHARS_MAX and key.isascii() and key.isprintable()):
            raise CredentialFieldInvalid(
                "request_key", f"1 to {KEY_CHARS_MAX} printable characters"
            )
        self._check_kind(request.kind)
        kind = self._book.kinds[request.kind]
        if wrong := owner_mistake(request.owner):
            raise CredentialFieldInvalid("owner", wrong)
        wrong = kind.secret_mistake(request.secret) if request.secret else ""
        if not request.secret and not kind.drawn:
            wrong = GIVEN_ONLY
        if self._prod and named_secret.is_demo(request.secret):
            wrong = named_secret.REFUSED
        if wrong:
            raise CredentialFieldInvalid("secret", wrong)
        return NewCredential(
            key, request.kind, request.owner, request.by, request.reason, request.secret, **more
        )

    def _times(self, request: pb.IssueCredentialRequest) -> tuple[datetime | None, datetime | None]:
        """From when and until when. Refuses CredentialFieldInvalid."""
        begins = (
            _moment(request.not_before, "not_before") if request.HasField("not_before") else None
        )
        ends = (
            _moment(request.expire_time, "expire_time") if request.HasField("expire_time") else None
        )
        now = self._book.app.clock.now()
        if ends is not None and ends <= max(now, begins or now):
            raise CredentialFieldInvalid("expire_time", "is after now, and after not_before")
        return begins, ends

    def _check_kind(self, kind: str) -> None:
        if kind not in self._book.kinds:
            raise CredentialFieldInvalid("kind", f"is of {', '.join(self._book.kinds)}")

    def _message(self, row: CredentialRow) -> pb.Credential:
        readable = row.credential_id not in self._book.unreadable
        return _for(current_caller(), filled(pb.Credential, row, readable=readable))


def _for(caller: Caller, message: pb.Credential) -> pb.Credential:
    """As a caller may see it: an account of a channel reads neither the names of our people nor why they
    did something, only what it did itself."""
    if caller.kind == "partner":
        if message.created_by != caller.name:
            message.created_by = message.reason = ""
        if message.ended_by != caller.name:
            message.ended_by = message.ended_reason = ""
    return message


def live_message(one: LiveSecret) -> pb.LiveSecret:
    """A live secret as it travels to a service that verifies with it."""
    return filled(pb.LiveSecret, one)


def _moment(given: Timestamp, name: str) -> datetime:
    try:
        return given.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise CredentialFieldInvalid(name, "is no moment") from None


def _check_words(**words: str) -> None:
    for name, text in words.items():
        if not 1 <= len(text) <= WORDS_MAX or not text.isprintable():
            raise CredentialFieldInvalid(name, f"1 to {WORDS_MAX} printable characters")
