"""Whose token a command sends: the data folder's owner's, or that of the operator who logged in."""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

OWNER_KEY: Final = "operator.key"  # in the data folder; who may read it owns the system
HOME_VARIABLE: Final = (
    "SHOUDAN_OWNER_HOME"  # names the data folder of a system that is not registered
)
OWNER_KEYS: Final = "operator.jwks.json"  # the public half, which the services trust
FRESH_S: Final = 120  # a token this close to its end is replaced


def owner_home(system_id: str) -> Path | None:
    """The data folder of a system of this machine."""
    from shoudan_cli.systems import running

    for one in running():
        if one.id == system_id:
            return Path(one.home)
    given = os.environ.get(HOME_VARIABLE)
    here = system_id and system_id == os.environ.get("SHOUDAN_SYSTEM_ID")
    return Path(given) if given and here else None


def owner_token(home: Path, system_id: str) -> Callable[[], str] | None:
    """Tokens of the owner of a data folder, each good for minutes; None where the key cannot be read."""
    from shoudan_kit.rpc.rights import ROLES
    from shoudan_kit.secrets.tokens import VALID_S, TokenSigner, kept_key

    file = home / OWNER_KEY
    if not os.access(file, os.R_OK):
        return None
    signer, name = TokenSigner(kept_key(file), system_id), getpass.getuser()
    made, until_s = "", 0.0

    def token() -> str:
        nonlocal made, until_s
        if time.time() > until_s - FRESH_S:
            made, until_s = signer.issue(f"local:{os.getuid()}", name, ROLES), time.time() + VALID_S
        return made

    return token


def present(system_id: str, home: Path | None, targets: Iterable[str], login: str = "") -> None:
    """Every channel this process opens to `targets` sends a token from now on, if there is one.

    `login`, the token of an operator who logged in, goes before the owner's of the data folder: who logs in
    means to be named.
    """
    from shoudan_kit.rpc.client import send_token

    owner = owner_token(home, system_id) if home is not None and not login else None
    token = (lambda: login) if login else owner
    if token is not None:
        send_token(token, targets)


def make_owner_key(home: Path) -> Path:
    """The owner's signing key of a data folder, made the first time; gives the file of its public half."""
    from shoudan_kit.secrets.tokens import kept_key, key_set

    public = home / OWNER_KEYS
    public.write_bytes(key_set([kept_key(home / OWNER_KEY).public_key()]))
    return public
