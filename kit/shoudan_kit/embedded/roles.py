"""The login roles of an embedded PostgreSQL and their passwords."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Awaitable
from contextlib import suppress
from typing import Final, Protocol

from shoudan_kit.embedded.home import Home

_ITERATIONS: Final = 4096  # PostgreSQL's own
_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_FILE: Final = "roles.json"


class Admin(Protocol):
    """What is used of asyncpg's connection, which has no types."""

    async def execute(self, query: str, *args: object) -> str: ...

    async def fetchval(self, query: str, *args: object) -> object: ...

    def close(self, *, timeout: float) -> Awaitable[None]: ...


def quoted(name: str) -> str:
    """A name as SQL wants it; only plain names are taken."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a plain name for PostgreSQL: {name!r}")
    return f'"{name}"'


def scram_verifier(password: str, salt: bytes | None = None) -> str:
    """What PostgreSQL stores for a password (RFC 5803), made here so that no statement holds the password."""
    salt = salt or secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
    client = hmac.digest(salted, b"Client Key", "sha256")
    stored = hashlib.sha256(client).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    text = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${_ITERATIONS}:{text[0]}${text[1]}:{text[2]}"


class Roles:
    """One owner of all tables, one role per service. Passwords are random and kept in the home."""

    prefix: Final = "shoudan_"
    owner: Final = "shoudan_owner"
    reader: Final = "shoudan_reader"

    def __init__(self, home: Home) -> None:
        self._home = home
        self._passwords: dict[str, str] = {}
        with suppress(FileNotFoundError):
            self._passwords = json.loads((home.path / _FILE).read_text("utf-8"))
        self._ensured: set[str] = set()

    def password(self, role: str) -> str:
        """Raises KeyError for a role that has not been made."""
        return self._passwords[role]

    async def ensure_owner(self, db: Admin) -> None:
        """The owner may take its time: migrations rewrite whole tables."""
        await self.ensure(db, self.owner)
        for setting in ("statement_timeout", "transaction_timeout"):
            await db.execute(f"ALTER ROLE {quoted(self.owner)} SET {setting} = 0")

    async def ensure_reader(self, db: Admin) -> None:
        """For reports: it may take longer than a service, and cannot write even where it might."""
        await self.ensure(db, self.reader)
        for setting, value in (
            ("default_transaction_read_only", "on"),
            ("statement_timeout", "'60s'"),
        ):
            await db.execute(f"ALTER ROLE {quoted(self.reader)} SET {setting} = {value}")

    async def ensure(self, db: Admin, role: str) -> None:
        """The role exists, may log in with its kept password, and is nothing special."""
        if role in self._ensured:
            return
        if role not in self._passwords:
            self._passwords[role] = secrets.token_urlsafe(24)
            self._home.write(_FILE, json.dumps(self._passwords))
        known = await db.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role)
        verb = "ALTER" if known else "CREATE"
        await db.execute(
            f"{verb} ROLE {quoted(role)} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE "
            f"PASSWORD '{scram_verifier(self._passwords[role])}'"
        )
        self._ensured.add(role)
