"""SandboxService: what a test system plays against."""

from __future__ import annotations

from typing import Final

from shoudan.order.v1 import sandbox_service_pb2 as pb
from shoudan.order.v1 import sandbox_service_pb2_grpc as grpc_pb
from shoudan_kit.rpc.messages import RpcContext
from shoudan_order import sandbox
from shoudan_order.context import Context
from shoudan_order.refusals import FieldInvalid, NoSandbox
from shoudan_order.rpc.messages import KEY_CHARS_MAX, filled, text_problem
from shoudan_order.sandbox import BODY_CHARS_MAX, Checked
from shoudan_order.sandbox_client import Choice, Choices, SandboxClient

KINDS: Final = {
    pb.SANDBOX_KEY_ACCOUNT: "account",
    pb.SANDBOX_KEY_ORDER: "order",
    pb.SANDBOX_KEY_CHANNEL: "channel",
}
SCRIPT_CHARS_MAX: Final = 16
LISTED_MAX: Final = 1_000


class SandboxServicer(grpc_pb.SandboxServiceServicer):
    """The calls of SandboxService."""

    def __init__(self, context: Context, client: SandboxClient) -> None:
        self._context, self._client = context, client

    async def GetSandbox(
        self, request: pb.GetSandboxRequest, context: RpcContext
    ) -> pb.GetSandboxResponse:
        """Whether there is one, and what it plays."""
        if not self._client.there:
            return pb.GetSandboxResponse()
        try:
            found = await self._client.choices()
        except NoSandbox:
            return pb.GetSandboxResponse(there=True)
        scripts = [filled(pb.SandboxScript, one) for one in found.scripts[:LISTED_MAX]]
        return pb.GetSandboxResponse(
            there=True, answers=True, scripts=scripts, choices=_choices(found)
        )

    async def SetSandboxScript(
        self, request: pb.SetSandboxScriptRequest, context: RpcContext
    ) -> pb.SetSandboxScriptResponse:
        """Play so."""
        kind = KINDS.get(request.key_kind)
        if kind is None:
            raise FieldInvalid("key_kind", "an account, an order or a channel")
        _text("key", request.key, 1, KEY_CHARS_MAX)
        _text("script", request.script, 0, SCRIPT_CHARS_MAX)
        found = await sandbox.choose(self._client, Choice(kind, request.key, request.script))
        return pb.SetSandboxScriptResponse(choices=_choices(found))

    async def ListSandboxLetters(
        self, request: pb.ListSandboxLettersRequest, context: RpcContext
    ) -> pb.ListSandboxLettersResponse:
        """Newest first."""
        _text("channel_no", request.channel_no, 1, KEY_CHARS_MAX)
        found = await sandbox.inbox(self._context, self._client, request.channel_no)
        return pb.ListSandboxLettersResponse(
            inbox_url=found.url,
            received=found.received,
            letters=[_letter(one) for one in found.letters],
        )


def _choices(found: Choices) -> list[pb.SandboxChoice]:
    numbers = {name: number for number, name in KINDS.items()}
    return [
        pb.SandboxChoice(key_kind=numbers[one.kind], key=one.key, script=one.script)
        for one in found.choices[:LISTED_MAX]
        if one.kind in numbers
    ]


def _letter(one: Checked) -> pb.SandboxLetter:
    made = pb.SandboxLetter(
        method=one.letter.method,
        query=one.letter.query,
        headers=one.headers,
        body=one.letter.body[:BODY_CHARS_MAX],
        signature=pb.SandboxSignature.Value(f"SANDBOX_SIGNATURE_{one.worth.upper()}"),
        mistake=one.mistake,
    )
    made.time.FromMilliseconds(int(one.letter.time * 1_000))
    return made


def _text(name: str, text: str, least: int, most: int) -> None:
    if problem := text_problem(((name, text, least, most),), ""):
        raise problem
