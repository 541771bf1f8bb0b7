"""Promises of the commands: log in, act as oneself, log out; tokens are in no one else's reach."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from shoudan_identity import bootstrap
from shoudan_kit.embedded import DatabaseUrls
from tests.identity.harness import PASSWORD, SYSTEM, IdentityHarness


@dataclass
class Told:
    """What a command said."""

    code: int
    out: str
    err: str


@dataclass
class Shell:
    """A person's commands, with a folder of their own for what they keep."""

    home: Path
    env: dict[str, str]

    async def __call__(self, *words: str, typed: str = "", **env: str) -> Told:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "shoudan_cli", "--yes", *words),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env={**self.env, **env},
        )
        out, err = await process.communicate(typed.encode())
        return Told(process.returncode or 0, out.decode(), err.decode())

    @property
    def kept(self) -> Path:
        """The file of its login."""
        (file,) = (self.home / "shoudan" / "logins").glob("*.json")
        return file


@pytest.fixture
def shell(harness: IdentityHarness, tmp_path: Path) -> Shell:
    target = f"127.0.0.1:{harness.process.port}"
    env = {"XDG_STATE_HOME": str(tmp_path), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    return Shell(tmp_path, {**env, "SHOUDAN_IDENTITY_TARGET": target})


async def test_an_operator_logs_in_acts_and_logs_out(
    harness: IdentityHarness, shell: Shell
) -> None:
    admin = await harness.admin()
    assert (await shell("whoami")).err.strip() == "not logged in: shoudan login"
    await harness.forget_codes(admin)
    typed = f"{PASSWORD}\n{harness.code(admin)}\n"
    assert (await shell("login", "admin", typed=typed)).out == "logged in as admin\n"
    assert shell.kept.stat().st_mode & 0o777 == 0o600
    assert shell.kept.parent.stat().st_mode & 0o777 == 0o700
    assert (await shell("whoami")).out.startswith("admin  admin\n")
    added = await shell("operator", "add", "eve", "ops")
    assert added.out.splitlines()[0] == "eve  ops  new"
    assert "shown once: " in added.out
    assert "eve  ops  new" in (await shell("operator", "ls")).out
    assert "viewer" in (await shell("operator", "role", "eve", "viewer")).out
    assert "LAST_ADMIN" in (await shell("operator", "disable", "admin")).err
    assert (await shell("logout")).out == "admin is logged out\n"
    refused = await shell("operator", "ls")
    assert (refused.code, refused.out) == (1, "")
    before = json.loads(shell.kept.read_text())
    assert (before["access_token"], before["refresh_token"]) == ("", "")


async def test_an_expired_token_is_renewed_once_by_two_commands(
    harness: IdentityHarness, shell: Shell
) -> None:
    admin = await harness.admin()
    eve = await harness.person(admin, "eve", "ops")
    assert (await shell("login", "eve", typed=f"{eve.password}\n")).code == 0
    kept = json.loads(shell.kept.read_text())
    shell.kept.write_text(json.dumps({**kept, "expires_s": 1.0}))
    both = await asyncio.gather(shell("whoami"), shell("whoami"))
    assert [one.code for one in both] == [0, 0]
    fresh = json.loads(shell.kept.read_text())
    assert fresh["refresh_token"] != kept["refresh_token"]
    assert fresh["device"] == kept["device"] != ""


async def test_the_first_login_gives_a_new_password_and_an_authenticator(
    harness: IdentityHarness, shell: Shell
) -> None:
    password = await bootstrap.first_admin(harness.context)
    told = await shell("login", "admin", typed=f"{password}\n{PASSWORD}\n000000\n")
    assert told.code == 1
    assert "CODE_REFUSED" in told.err
    assert "otpauth://totp/shoudan:admin" in told.out


async def test_a_program_acts_with_an_api_token(harness: IdentityHarness, shell: Shell) -> None:
    admin = await harness.admin()
    eve = await harness.person(admin, "eve", "ops", "support")
    auth = {"SHOUDAN_ACCESS_TOKEN": eve.tokens.access_token}
    secret = (await shell("operator", "token-add", "job", "ops", **auth)).out.strip()
    told = await shell("whoami", SHOUDAN_API_TOKEN=secret)
    assert told.out.startswith("eve  ops\n")
    assert (await shell("operator", "tokens", **auth)).out.startswith("job  ops  until ")
    assert (await shell("operator", "token-revoke", "job", **auth)).code == 0
    assert "API_TOKEN_REFUSED" in (await shell("whoami", SHOUDAN_API_TOKEN=secret)).err


async def test_the_owner_of_an_empty_database_makes_the_first_admin_once(
    new_database: Callable[[str], Awaitable[DatabaseUrls]], shell: Shell
) -> None:
    urls = await new_database("identity")
    env = {
        "SHOUDAN_IDENTITY_DATABASE_URL": urls.service,
        "SHOUDAN_IDENTITY_OWNER_DATABASE_URL": urls.owner,
        "SHOUDAN_SYSTEM_ID": SYSTEM,
    }
    told = await shell("operator", "bootstrap", **env)
    assert told.out.startswith("first operator admin, password for one login: ")
    again = await shell("operator", "bootstrap", **env)
    assert (again.code, again.out) == (1, "")


async def test_sessions_are_listed_and_ended_by_command(
    harness: IdentityHarness, shell: Shell
) -> None:
    eve = await harness.person(await harness.admin(), "eve", "ops")
    auth = {"SHOUDAN_ACCESS_TOKEN": eve.tokens.access_token}
    number = str(eve.tokens.session_id)
    assert (await shell("operator", "sessions", **auth)).out.startswith(f"{number}  127.0.0.1")
    ended = await shell("operator", "end-session", number, **auth)
    assert ended.out == "1 sessions ended\n"
