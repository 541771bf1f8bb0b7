"""`shoudan login`, `logout` and `whoami`: the operator of this command at one system."""

from __future__ import annotations

import os
import platform
import sys
from typing import Annotated, Any, Final

import typer

from shoudan.identity.v1 import identity_service_pb2 as pb
from shoudan.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from shoudan_cli import browser, kept_logins
from shoudan_cli.clients import (
    Clients,
    ClientSettings,
    Failed,
    console,
    open_clients,
    run,
    settings,
)
from shoudan_cli.credentials import owner_home, owner_token
from shoudan_cli.kept_logins import Login

SERVICE: Final = "identity"
TOTP_REQUIRED: Final = "ERROR_REASON_TOTP_REQUIRED"
MUST_CHANGE: Final = "ERROR_REASON_PASSWORD_MUST_CHANGE"
QUESTIONS_MAX: Final = 3  # password, new password, code


def login(
    name: Annotated[str, typer.Argument(help="Login name.")] = "",
    provider: Annotated[
        bool, typer.Option("--provider", help="In a browser, at the system's OpenID provider.")
    ] = False,
) -> None:
    """Log in to a system; its tokens are kept for the next commands."""
    run(_provider_login if provider else lambda: _login(name))


def logout() -> None:
    """End the session of this command."""
    run(_logout)


def whoami() -> None:
    """Show who this command is at the system, and what it may do."""
    run(_whoami)


async def _login(name: str) -> None:
    found = settings()
    context = await kept_logins.context_of(found)
    before = kept_logins.read(context)
    known = before.name if before is not None else ""
    name = name or _ask(f"login name [{known}]" if known else "login name") or known
    device = before.device if before is not None and before.name == name else ""
    request = pb.LoginRequest(name=name, device=device, agent=f"shoudan on {platform.node()}")
    request.password = _ask("password", hidden=True)
    async with open_clients(found) as clients:
        done = await _answered(clients, request)
        made = Login.of(name, done.device, done.tokens)
        if done.totp_enrolment_required:
            made = await _enrol(clients, made, request.agent)
    kept_logins.write(context, made)
    console.print(f"logged in as {name}", markup=False, highlight=False)


async def _provider_login() -> None:
    """Log in where the system's OpenID provider lets the person in; its browser comes back to us."""
    found = settings()
    context = await kept_logins.context_of(found)
    before = kept_logins.read(context)
    agent = f"shoudan on {platform.node()}"
    async with open_clients(found) as clients, browser.waiting() as back:
        begin = pb.BeginProviderLoginRequest(redirect_uri=back.redirect)
        begun = await _call(clients, "BeginProviderLogin", begin)
        browser.show(begun.authorization_url)
        request = pb.FinishProviderLoginRequest(
            code=await back.code(begun.state),
            state=begun.state,
            device=before.device if before is not None else "",
            agent=agent,
        )
        done = await _call(clients, "FinishProviderLogin", request)
        if done.pending:
            second = pb.FinishProviderLoginRequest(
                pending=done.pending,
                totp=_ask("code of the authenticator, or a recovery code"),
                device=request.device,
                agent=agent,
            )
            done = await _call(clients, "FinishProviderLogin", second)
        name = done.login.operator.name
        made = Login.of(name, done.login.device, done.login.tokens)
        if done.login.totp_enrolment_required:
            made = await _enrol(clients, made, agent)
    kept_logins.write(context, made)
    console.print(f"logged in as {name}", markup=False, highlight=False)


async def _answered(clients: Clients, request: pb.LoginRequest) -> Any:
    """Log in; what the service asks for is asked of the person, each once."""
    for _ in range(QUESTIONS_MAX):
        try:
            return await _call(clients, "Login", request)
        except Failed as error:
            reason = error.refused.reason if error.refused is not None else ""
            if reason == TOTP_REQUIRED and not request.totp:
                request.totp = _ask("code of the authenticator, or a recovery code")
            elif reason == MUST_CHANGE and not request.new_password:
                request.new_password = _new_password()
            else:
                raise
    raise Failed("the login was not answered")


async def _enrol(clients: Clients, made: Login, agent: str) -> Login:
    """Give the operator the authenticator its roles need."""
    auth = made.access_token
    secret = await _call(clients, "EnrolTotp", pb.EnrolTotpRequest(), auth)
    console.print("your roles need an authenticator; give it this secret:", highlight=False)
    for text in (secret.secret, secret.uri):
        typer.echo(f"  {text}")
    request = pb.ConfirmTotpRequest(code=_ask("code it shows"), agent=agent)
    done = await _call(clients, "ConfirmTotp", request, auth)
    console.print("recovery codes, shown once; each replaces a code, once:", highlight=False)
    for code in done.recovery_codes:
        typer.echo(f"  {code}")
    return Login.of(made.name, done.device, done.tokens)


async def _logout() -> None:
    found = settings()
    context = await kept_logins.context_of(found)
    known = kept_logins.read(context)
    if known is None or not known.access_token:
        console.print("not logged in")
        return
    kept_logins.write(context, known.out())
    if known.refresh_token:
        request = pb.LogoutRequest(refresh_token=known.refresh_token)
        async with open_clients(found) as clients:
            await _call(clients, "Logout", request)
    console.print(f"{known.name} is logged out", markup=False, highlight=False)


async def _whoami() -> None:
    found = settings()
    async with open_clients(found) as clients:
        token = await kept_logins.access_token(clients, await kept_logins.context_of(found))
        if not token:
            await _owner(found)
            return
        answer = await _call(clients, "WhoAmI", pb.WhoAmIRequest(), token)
    roles = ", ".join(answer.token_roles) or "no role"
    until = answer.token_expire_time.ToJsonString()
    console.print(f"{answer.operator.name}  {roles}", markup=False, highlight=False)
    console.print(f"token until {until}", markup=False, highlight=False)


async def _owner(found: ClientSettings) -> None:
    """A person who may read the data folder of a system of this machine acts as its owner without a login."""
    answer = await kept_logins.identity_answer(found)
    home = owner_home(answer.id) if answer is not None else None
    if answer is None or home is None or owner_token(home, answer.id) is None:
        raise Failed("not logged in: shoudan login")
    console.print(f"owner of {home}, every role", markup=False, highlight=False)
    console.print("to act under a name: shoudan login", markup=False, highlight=False)


async def _call(clients: Clients, rpc: str, request: Any, token: str = "") -> Any:
    return await clients.call(SERVICE, IdentityServiceStub, rpc, request, token=token)


def _new_password() -> str:
    given = _ask("new password, 12 characters or more", hidden=True)
    if sys.stdin.isatty() and _ask("the same again", hidden=True) != given:
        raise Failed("the two differ")
    return given


def _ask(what: str, *, hidden: bool = False) -> str:
    """One line of the person at the keyboard, or of a pipe."""
    if sys.stdin.isatty():
        return typer.prompt(what, hide_input=hidden, default="", show_default=False, err=True)
    line = sys.stdin.readline()
    if not line:
        raise Failed(f"{what}: nothing given")
    return line.rstrip(os.linesep)
