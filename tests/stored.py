"""Short words for credentials stored at a running service, for the tests of those who verify with them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from grpc import aio

from shoudan.core.v1 import credential_service_pb2 as pb
from shoudan.core.v1 import credential_service_pb2_grpc as stubs


@dataclass
class Stored:
    """CredentialService of one service at this port."""

    port: int

    async def _call(self, rpc: str, request: Any) -> Any:
        async with aio.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            stub: Any = stubs.CredentialServiceStub(channel)
            return await getattr(stub, rpc)(request)

    async def issue(self, kind: str, owner: str, secret: str = "") -> pb.IssueCredentialResponse:
        """One more secret of an owner."""
        request = pb.IssueCredentialRequest(
            request_key=secrets.token_hex(8),
            kind=kind,
            owner=owner,
            secret=secret,
            by="li",
            reason="test",
        )
        return await self._call("IssueCredential", request)

    async def rotate(
        self, kind: str, owner: str, overlap_s: int = 3600
    ) -> pb.RotateCredentialResponse:
        """A new secret; the others end after the overlap."""
        request = pb.RotateCredentialRequest(
            request_key=secrets.token_hex(8),
            kind=kind,
            owner=owner,
            overlap_s=overlap_s,
            by="li",
            reason="test",
        )
        return await self._call("RotateCredential", request)

    async def revoke(self, made: Any) -> pb.RevokeCredentialResponse:
        """End what was issued."""
        request = pb.RevokeCredentialRequest(
            credential_id=made.credential.credential_id, by="li", reason="test"
        )
        return await self._call("RevokeCredential", request)
