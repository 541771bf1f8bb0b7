"""Who of the staff is alerted, as operators configure it in a TOML file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec

from shoudan_finance.tables.alerts import TARGET_MAX

FILE_MAX: Final = 2**18
TARGETS_MAX: Final = 50
SECRET_MAX: Final = 4096
ADDRESSES_MAX: Final = 50
PARTNER: Final = "partner"  # the channel whose account it is, which no file names
CHATS: Final = ("wecom", "dingtalk", "feishu")
_NAME: Final = re.compile(rf"[a-z0-9][a-z0-9-]{{0,{TARGET_MAX - 1}}}", re.ASCII)
_ADDRESS: Final = re.compile(r"[^\s@,;<>\"]{1,64}@[^\s@,;<>\"]{1,190}")


class TargetWrong(ValueError):
    """A target that cannot be used: its name and what is wrong."""


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is alerted, and how. Secrets stand in files: the addresses of robots are secrets, too."""

    name: str
    kind: Literal["wecom", "dingtalk", "feishu", "webhook", "mail"]
    groups: tuple[str, ...] = ()  # kinds of accounts it is alerted of; all when empty
    url_file: str = ""
    secret_file: str = ""  # of dingtalk, feishu and webhook, which sign
    host: str = ""  # of mail, as all below
    port: int = 465
    tls: Literal["tls", "starttls", "none"] = "tls"
    user: str = ""
    password_file: str = ""
    sender: str = ""
    to: tuple[str, ...] = ()
    url: str = ""
    secret: str = ""
    password: str = ""

    def wants(self, groups: str) -> bool:
        """Whether it is alerted of accounts of a kind."""
        return not self.groups or groups in self.groups

    def __repr__(self) -> str:
        """Without what is secret."""
        return f"Target({self.name!r}, {self.kind!r})"


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    target: tuple[Target, ...] = ()


def load(configured: str) -> dict[str, Target]:
    """The targets of the file, by name, with what is secret of them. Raises TargetWrong."""
    if not configured:
        return {}
    path = Path(configured)
    found: dict[str, Target] = {}
    for one in _parsed(path).target:
        for why in _mistakes(one):
            raise TargetWrong(f"{path.name}: target {one.name!r}: {why}")
        if one.name in found:
            raise TargetWrong(f"{path.name}: target {one.name!r} stands there twice")
        found[one.name] = _filled(one)
    if len(found) > TARGETS_MAX:
        raise TargetWrong(f"more than {TARGETS_MAX} targets")
    return found


def _parsed(path: Path) -> _File:
    try:
        if path.stat().st_size > FILE_MAX:
            raise TargetWrong(f"{path.name} has more than {FILE_MAX} bytes")
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), _File)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise TargetWrong(f"{path.name}: {error}") from None


def _mistakes(one: Target) -> Iterator[str]:
    if _NAME.fullmatch(one.name) is None or one.name == PARTNER:
        yield f"a name has a-z, 0-9 and -, at most {TARGET_MAX}, and is not {PARTNER}"
    if one.url or one.secret or one.password:
        yield "url, secret and password stand in files: url_file, secret_file, password_file"
    if one.kind == "mail":
        yield from _mail_mistakes(one)
    elif not one.url_file:
        yield "url_file is missing"
    elif one.kind == "webhook" and not one.secret_file:
        yield "secret_file is missing"
    elif one.kind == "wecom" and one.secret_file:
        yield "wecom does not sign: its address is its secret"


def _mail_mistakes(one: Target) -> Iterator[str]:
    if not (one.host and one.sender and one.to):
        yield "mail needs host, sender and to"
    if not 1 <= one.port <= 65_535:
        yield "port is 1 to 65535"
    if bool(one.user) != bool(one.password_file):
        yield "user and password_file belong together"
    if one.user and one.tls == "none":
        yield "a password is not sent without tls"
    if len(one.to) > ADDRESSES_MAX:
        yield f"to has at most {ADDRESSES_MAX} addresses"
    for address in (one.sender, *one.to):
        if address and _ADDRESS.fullmatch(address) is None:
            yield f"{address!r} is no address"


def _filled(one: Target) -> Target:
    made = msgspec.structs.replace(
        one,
        url=_secret(one, one.url_file),
        secret=_secret(one, one.secret_file),
        password=_secret(one, one.password_file),
    )
    if one.kind != "mail" and not made.url.startswith(("https://", "http://")):
        raise TargetWrong(f"target {one.name!r}: url_file holds no http or https URL")
    return made


def _secret(one: Target, path: str) -> str:
    if not path:
        return ""
    try:
        with Path(path).open("rb") as file:
            found = file.read(SECRET_MAX + 1).decode().strip()
    except (OSError, UnicodeDecodeError):
        raise TargetWrong(f"target {one.name!r}: {path} cannot be read") from None
    if not found or len(found) > SECRET_MAX or not found.isprintable():
        raise TargetWrong(f"target {one.name!r}: {path} is not one line of at most {SECRET_MAX}")
    return found
