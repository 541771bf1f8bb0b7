"""`shoudan operator …`: operators, their sessions and API tokens, the keys that sign tokens."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Any, Final

import typer

app = typer.Typer(no_args_is_help=True)

CALL_S: Final = 60.0
DEFAULT_TARGET: Final = "127.0.0.1:50055"

Target = Annotated[
    str, typer.Option(help="gRPC address of identity.", envvar="SHOUDAN_IDENTITY_TARGET")
]
Token = Annotated[
    str,
    typer.Option(
        help="Access token; without it that of `shoudan login`.",
        envvar="SHOUDAN_ACCESS_TOKEN",
        show_envvar=False,
    ),
]
Name = Annotated[str, typer.Argument(help="Login name.")]
Whose = Annotated[str, typer.Option("--operator", help="Login name; yourself without it.")]
Roles = Annotated[
    list[str] | None,
    typer.Argument(help="viewer, support, ops, finance-maker, finance-checker, admin."),
]


@app.callback()
def operator() -> None:
    """Who operates this system."""


@app.command()
def bootstrap() -> None:
    """Create the first admin in an empty database, as its owner; its password is shown once."""
    from shoudan_identity.app import SERVICE
    from shoudan_identity.config import IdentitySettings
    from shoudan_kit import log
    from shoudan_kit.config import ConfigError
    from shoudan_kit.rpc.command import stop_command
    from shoudan_kit.service import seeded

    log.setup(SERVICE.name, "warning", sys.stderr.buffer)
    try:
        settings = IdentitySettings.load(SERVICE.name)
    except ConfigError as error:
        stop_command(str(error))
    owner = settings.owner_database_url or settings.database_url
    own = settings.model_copy(update={"database_url": owner})
    text = asyncio.run(seeded(SERVICE, own))
    if text is None:
        stop_command("there is an operator already: an admin adds others, `shoudan operator add`")
    typer.echo(text)


@app.command()
def add(
    name: Name,
    roles: Roles = None,
    display_name: Annotated[str, typer.Option(help="Name for people.")] = "",
    target: Target = DEFAULT_TARGET,
    token: Token = "",
) -> None:
    """Add an operator; its password for one login is shown once."""
    from shoudan.identity.v1 import identity_service_pb2 as pb

    request = pb.CreateOperatorRequest(name=name, display_name=display_name, roles=roles or [])
    done = _call(target, token, "CreateOperator", request)
    _one_time(done)


@app.command()
def role(
    name: Name, roles: Roles = None, target: Target = DEFAULT_TARGET, token: Token = ""
) -> None:
    """Give an operator these roles and no others."""
    from shoudan.identity.v1 import identity_service_pb2 as pb

    request = pb.SetRolesRequest(name=name, roles=roles or [])
    _show(_call(target, token, "SetRoles", request).operator)


@app.command()
def link(
    name: Name,
    subject: Annotated[
        str, typer.Argument(help="The provider's `sub`; nothing takes the link away.")
    ] = "",
    target: Target = DEFAULT_TARGET,
    token: Token = "",
) -> None:
    """Say which person of the OpenID provider an operator is; its sessions end."""
    from shoudan.identity.v1 import identity_service_pb2 as pb

    request = pb.LinkOperatorRequest(name=name, subject=subject)
    found = _call(target, token, "LinkOperator", request).subject
    typer.echo(f"{name} is {found}" if found else f"{name} is not linked")


@app.command()
def disable(name: Name, target: Target = DEFAULT_TARGET, token: Token = "") -> None:
    """End what an operator has open and let it in no more."""
    from shoudan.identity.v1 import identity_service_pb2 as pb

    _show(_call(target, token, "DisableOperator", pb.DisableOperatorRequest(name=name)).operator)


@app.command()
def enable(name: Name, target: Target = DEFAULT_TARGET, token: Token = "") -> None:
    """Let a disabled operator log in again."""
    from shoudan.identity.v1 import identity_service_pb2 as pb

    _show(_call(target, token, "EnableOperator", pb.EnableOperatorRequest(name=name)).operator)


@app.command()
def reset(name: Name, target: Target = DEFAULT_TARGET, token: Token = "") -> None:
    """A new password for one login; authenticator, sessions and API tokens end."""
    from shoudan.identity.v1 import identity_service_pb2 as pb

    _one_time(_call(target, token, "ResetOperator", pb.ResetOperatorRequest(name=name)))


@app.command()
def erase(
    name: Name,
    reason: Annotated[str, typer.Option(help="Why; it is in the audit log.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    target: Target = DEFAULT_TARGET,
    token: Token = "",
) -> None:
    """Replace the names of an operator for good and end all it has; its number stays."""
    from shoudan.identity.v1 import identity_service_pb2 as pb

    if not yes:
        typer.confirm("This cannot be undone. Erase?", abort=True)
    request = pb.EraseOperatorRequest(name=name, reason=reason)
    _show(_call(target, token, "EraseOperator", request).operator)


@app.command("ls")
def list_operators(target: Target = DEFAULT_TARGET, token: Token = "") -> None:
    """All operators, by name."""
    from shoudan.identity.v1 import identity_service_pb2 as pb

    after = ""
    while True:
        request = pb.ListOperatorsRequest(page_size=1000, page_token=after)
        page = _call(target, token, "ListOperators", request)
        for one in page.operators:
            _show(one)
        after = page.next_page_token
        if not after:
            return


@app.command()
def sessions(whose: Whose = "", target: Target = DEFAULT_TARGET, token: Token = "") -> None:
    """The open sessions of an operator, newest first."""
    from shoudan.identity.v1 import identity_service_pb2 as pb

    found = _call(target, token, "ListSessions", pb.ListSessionsRequest(name=whose)).sessions
    for one in found:
        times = f"opened {one.create_time.ToJsonString()}  used {one.use_time.ToJsonString()}"
        typer.echo(f"{one.session_id}  {one.address}  {one.agent}  {times}")


@app.command("end-session")
def end_session(
    session_id: Annotated[int, typer.Argument(help="Its number; 0 ends all.")],
    whose: Whose = "",
    target: Target = DEFAULT_TARGET,
    token: Token = "",
) -> None:
    """End a session."""
    from shoudan.identity.v1 import identity_service_pb2 as pb

    request = pb.EndSessionRequest(name=whose, session_id=session_id)
    ended = _call(target, token, "EndSession", request).sessions_ended
    typer.echo(f"{ended} sessions ended")


@app.command("token-add")
def token_add(
    name: Annotated[str, typer.Argument(help="Name of the API token.")],
    roles: Roles = None,
    days: Annotated[int, typer.Option(help="Days it is good for.", min=1, max=366)] = 90,
    target: Target = DEFAULT_TARGET,
    token: Token = "",
) -> None:
    """Add an API token of yours with some of your roles; it is shown once."""
    from shoudan.identity.v1 import identity_service_pb2 as pb

    request = pb.CreateApiTokenRequest(name=name, roles=roles or [], days=days)
    typer.echo(_call(target, token, "CreateApiToken", request).secret)


@app.command("tokens")
def list_tokens(whose: Whose = "", target: Target = DEFAULT_TARGET, token: Token = "") -> None:
    """The API tokens of an operator that are not revoked, newest first."""
    from shoudan.identity.v1 import identity_service_pb2 as pb

    found = _call(target, token, "ListApiTokens", pb.ListApiTokensRequest(name=whose)).tokens
    for one in found:
        used = one.use_time.ToJsonString() if one.HasField("use_time") else "never"
        until = one.expire_time.ToJsonString()
        typer.echo(f"{one.name}  {', '.join(one.roles)}  until {until}  used {used}")


@app.command("token-revoke")
def token_revoke(
    name: Annotated[str, typer.Argument(help="Name of the API token.")],
    whose: Whose = "",
    target: Target = DEFAULT_TARGET,
    token: Token = "",
) -> None:
    """End an API token."""
    from shoudan.identity.v1 import identity_service_pb2 as pb

    request = pb.RevokeApiTokenRequest(operator_name=whose, name=name)
    _call(target, token, "RevokeApiToken", request)
    typer.echo(f"{name}: revoked")


@app.command("rotate-keys")
def rotate_keys(
    at_once: Annotated[
        bool,
        typer.Option("--at-once", help="The key is compromised: its tokens are refused at once."),
    ] = False,
    target: Target = DEFAULT_TARGET,
    token: Token = "",
) -> None:
    """Let the next key sign tokens."""
    from shoudan.identity.v1 import identity_service_pb2 as pb

    done = _call(target, token, "RotateKeys", pb.RotateKeysRequest(at_once=at_once))
    typer.echo(f"tokens are signed by {done.signing_key_id}")


def _one_time(done: Any) -> None:
    _show(done.operator)
    typer.echo(f"password for one login, shown once: {done.one_time_password}")


def _show(one: Any) -> None:
    marks = ("disabled", one.disabled), ("authenticator", one.totp), ("new", one.password_once)
    notes = "".join(f"  {word}" for word, is_so in marks if is_so)
    roles = ", ".join(one.roles) or "no role"
    typer.echo(f"{one.name}  {roles}{notes}")


def _call(target: str, token: str, method: str, request: Any) -> Any:
    from shoudan.identity.v1 import identity_service_pb2_grpc as rpc
    from shoudan_kit.rpc.command import run_command

    metadata = (("authorization", f"Bearer {token}"),) if token else ()

    async def call(channel: Any) -> Any:
        stub: Any = rpc.IdentityServiceStub(channel)
        return await getattr(stub, method)(request, timeout=CALL_S, metadata=metadata)

    return run_command(target, "identity", call)
