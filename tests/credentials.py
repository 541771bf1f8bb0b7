"""Who calls, for tests of processes that enforce it: an operator's token, certificates of an authority."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shoudan_kit.rpc.rights import ROLES
from shoudan_kit.secrets.tokens import TokenSigner, key_set
from shoudan_kit.tls.authority import CA, CERT, CURRENT, Authority
from shoudan_kit.tls.authority import KEY as TLS_KEY
from shoudan_kit.tls.identity import Files, Identity

_KEY: Final = Ed25519PrivateKey.generate()


def token_of(system_id: str, *roles: str) -> str:
    """A token of an operator named li; without roles it has all of them."""
    return TokenSigner(_KEY, system_id).issue("1", "li", roles or ROLES)


def token_as(system_id: str, operator_id: str, *roles: str) -> str:
    """A token of the operator with this number, whose name is op-<number>."""
    return TokenSigner(_KEY, system_id).issue(operator_id, f"op-{operator_id}", roles)


def metadata_as(system_id: str, operator_id: str, *roles: str) -> tuple[tuple[str, str], ...]:
    """The same as the metadata of a call."""
    return (("authorization", f"Bearer {token_as(system_id, operator_id, *roles)}"),)


def metadata_of(system_id: str, *roles: str) -> tuple[tuple[str, str], ...]:
    """The same as the metadata of a call."""
    return (("authorization", f"Bearer {token_of(system_id, *roles)}"),)


def trusted_keys(folder: Path) -> Path:
    """The file of a process that believes these tokens."""
    file = folder / "operators.jwks.json"
    file.write_bytes(key_set([_KEY.public_key()]))
    return file


def files_of(authority: Authority, name: str) -> Files:
    """Where the certificate of `name` is."""
    place = authority.folder / name / CURRENT
    return Files(place / CERT, place / TLS_KEY, place / CA)


def tls_of(authority: Authority, name: str) -> dict[str, Any]:
    """The settings of a process with this certificate."""
    files = files_of(authority, name)
    return {"tls_cert": files.cert, "tls_key": files.key, "tls_ca": files.ca}


def identity_of(authority: Authority, name: str) -> Identity:
    """A client with this certificate."""
    return Identity(files_of(authority, name))
