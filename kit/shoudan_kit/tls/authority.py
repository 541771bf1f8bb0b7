"""A small certificate authority in a folder: its own key, and a short-lived certificate per process."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shoudan_kit.tls.names import is_name, server_name, spiffe_name

AUTHORITY: Final = "authority"
CURRENT: Final = "current"
CERT, KEY, CA = "tls.crt", "tls.key", "ca.crt"  # as cert-manager names them
CA_KEY: Final = "ca.key"
CA_DAYS: Final = 3650
DAYS: Final = 7
DAYS_MAX: Final = 825  # what browsers and libraries put up with at most
# A process whose clock is behind takes a new certificate; one whose clock is ahead has a third of its life.
BACKDATED: Final = timedelta(minutes=15)
RENEW_PART: Final = 3
NAMES_MAX: Final = 32
_TEXT_MAX: Final = 64 * 1024


class AuthorityError(ValueError):
    """What is wrong with the authority's folder or a wish; one readable sentence."""


@dataclass(frozen=True, slots=True)
class Issued:
    """One certificate of the folder, as `show` tells of it. `wrong` is empty when all is well."""

    name: str
    serial: str
    begins: datetime | None
    expires: datetime | None
    names: tuple[str, ...]
    wrong: str = ""

    def due(self, now: datetime) -> bool:
        """Whether it is renewed now: in the last third of its life, or not usable."""
        if self.wrong or self.begins is None or self.expires is None:
            return True
        return self.expires - now <= (self.expires - self.begins) / RENEW_PART


@dataclass(frozen=True, slots=True)
class Authority:
    """The authority in `folder`; `folder/<name>/current` holds the three files of a process."""

    folder: Path

    @classmethod
    def init(cls, folder: Path, *, days: int = CA_DAYS) -> Authority:
        """Make the authority. One that exists is never replaced: AuthorityError."""
        place = folder / AUTHORITY
        if (place / CA_KEY).exists():
            raise AuthorityError(
                f"{place} holds an authority already; certificates: shoudan pki issue"
            )
        key = ec.generate_private_key(ec.SECP256R1())
        name = _named(f"shoudan authority {secrets.token_hex(4)}")
        now = datetime.now(UTC)
        certificate = (
            _builder(name, name, key.public_key(), now, timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(authority=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .sign(key, hashes.SHA256())
        )
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = folder / f".{AUTHORITY}"  # renamed into place: a killed start leaves no half of it
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        _write(draft / CA, _pem(certificate), 0o644)
        _write(draft / CA_KEY, _key_pem(key), 0o600)
        draft.rename(place)
        return cls(folder)

    def issue(
        self,
        name: str,
        also: Sequence[str] = (),
        *,
        days: float = DAYS,
        group: bool = False,
        now: datetime | None = None,
    ) -> Issued:
        """A new key and certificate of a process, put in place whole or not at all.

        It carries spiffe://shoudan/<name>, <name>.shoudan.internal, and `also`: DNS names and addresses.
        `group`: the key's group may read it, for a server that runs as another user.
        """
        if not is_name(name) or name == AUTHORITY:
            raise AuthorityError(
                f"{name!r} is no name of a process: small letters, digits, - and _, at most 63"
            )
        if not 0 < days <= DAYS_MAX:
            raise AuthorityError(f"a certificate lives for more than 0 and at most {DAYS_MAX} days")
        if len(also) > NAMES_MAX:
            raise AuthorityError(f"at most {NAMES_MAX} further names")
        ca, ca_key = self._signer()
        key = ec.generate_private_key(ec.SECP256R1())
        now = now or datetime.now(UTC)
        life = min(timedelta(days=days), ca.not_valid_after_utc - now)
        certificate = (
            _builder(_named(name), ca.subject, key.public_key(), now, life)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
                ),
                critical=False,
            )
            .add_extension(x509.SubjectAlternativeName(_alternatives(name, also)), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()),
                critical=False,
            )
            .sign(ca_key, hashes.SHA256())
        )
        self._put(name, _pem(certificate), _key_pem(key), group=group)
        return self.look(name, now)

    def rotate(
        self, *, days: float | None = None, now: datetime | None = None, early: bool = False
    ) -> list[Issued]:
        """Renew what is in the last third of its life, or not usable; gives what was renewed.

        `days` is the life of the new ones; without it they live as long as those they replace. With `early`
        all are renewed.
        """
        now = now or datetime.now(UTC)
        renewed: list[Issued] = []
        for old in self.show(now):
            if not early and not old.due(now):
                continue
            life = days or DAYS
            if days is None and old.begins and old.expires:
                life = min((old.expires - old.begins - BACKDATED) / timedelta(days=1), DAYS_MAX)
            group = self._group_reads(old.name)
            renewed.append(self.issue(old.name, old.names, days=life, group=group, now=now))
        return renewed

    def show(self, now: datetime | None = None) -> list[Issued]:
        """Every certificate of the folder, by name."""
        now = now or datetime.now(UTC)
        names = sorted(one.name for one in self.folder.iterdir() if one.is_dir())
        return [self.look(one, now) for one in names if is_name(one) and one != AUTHORITY]

    def look(self, name: str, now: datetime) -> Issued:
        """One certificate, and what is wrong with it."""
        place = self.folder / name / CURRENT
        try:
            certificate = x509.load_pem_x509_certificate(_read(place / CERT))
            key = _load_key(_read(place / KEY))
        except OSError as error:
            wrong = f"{error.filename} cannot be read ({error.strerror})"
            return Issued(name, "", None, None, (), wrong)
        except ValueError:
            return Issued(name, "", None, None, (), "certificate or key is no PEM file")
        return Issued(
            name,
            f"{certificate.serial_number:x}",
            certificate.not_valid_before_utc,
            certificate.not_valid_after_utc,
            tuple(_also(certificate, name)),
            self._wrong(certificate, key, place / KEY, now),
        )

    def _wrong(
        self,
        certificate: x509.Certificate,
        key: ec.EllipticCurvePrivateKey,
        file: Path,
        now: datetime,
    ) -> str:
        if certificate.public_key() != key.public_key():
            return "the key is another certificate's"
        if now >= certificate.not_valid_after_utc:
            return f"expired {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        if now < certificate.not_valid_before_utc:
            return f"begins {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC: check the clock"
        if file.stat().st_mode & 0o037:
            return f"{file} is open to others: chmod 600"
        try:
            certificate.verify_directly_issued_by(self.certificate())
        except (InvalidSignature, ValueError, TypeError):
            return "of another authority"
        return ""

    def _group_reads(self, name: str) -> bool:
        try:
            return bool((self.folder / name / CURRENT / KEY).stat().st_mode & 0o040)
        except OSError:
            return False

    def certificate(self) -> x509.Certificate:
        """The authority's own; of several in the file the first one signs. AuthorityError."""
        try:
            return x509.load_pem_x509_certificates(_read(self.folder / AUTHORITY / CA))[0]
        except OSError as error:
            raise AuthorityError(
                f"{error.filename} cannot be read ({error.strerror}); shoudan pki init makes an authority"
            ) from None
        except ValueError:
            raise AuthorityError(f"{self.folder / AUTHORITY / CA} is no certificate") from None

    def _signer(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        place, ca = self.folder / AUTHORITY / CA_KEY, self.certificate()
        try:
            return ca, _load_key(_read(place))
        except OSError as error:
            raise AuthorityError(f"{place} cannot be read ({error.strerror})") from None
        except ValueError:
            raise AuthorityError(f"{place} is no private key of an authority made here") from None

    def _put(self, name: str, certificate: bytes, key: bytes, *, group: bool) -> None:
        """A new generation beside the current one, then the link is turned: readers see either pair whole."""
        home = self.folder / name
        home.mkdir(mode=0o700, exist_ok=True)
        made = home / f"g-{secrets.token_hex(8)}"
        made.mkdir(mode=0o700)
        if group:
            home.chmod(0o750)
            made.chmod(0o750)
        _write(made / KEY, key, 0o640 if group else 0o600)
        _write(made / CERT, certificate, 0o644)
        _write(made / CA, _read(self.folder / AUTHORITY / CA), 0o644)
        turned = home / f".{CURRENT}"
        turned.unlink(missing_ok=True)
        turned.symlink_to(made.name)
        turned.rename(home / CURRENT)
        for old in home.glob("g-*"):
            if old != made:
                shutil.rmtree(old, ignore_errors=True)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    life: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + life)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternatives(name: str, also: Sequence[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier(spiffe_name(name)),
        x509.DNSName(server_name(name)),
    ]
    for one in dict.fromkeys(also):
        try:
            found.append(x509.IPAddress(ip_address(one)))
        except ValueError:
            try:
                found.append(x509.DNSName(one))
            except ValueError:
                raise AuthorityError(f"{one!r} is neither a DNS name nor an address") from None
    return found


def _also(certificate: x509.Certificate, name: str) -> Iterator[str]:
    """The names beside those that every certificate of `name` has."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    yield from (one for one in names.get_values_for_type(x509.DNSName) if one != server_name(name))
    addresses: list[IPv4Address | IPv6Address] = [
        one
        for one in names.get_values_for_type(x509.IPAddress)
        if isinstance(one, IPv4Address | IPv6Address)
    ]
    yield from map(str, addresses)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, None)
    except TypeError:
        raise ValueError("a key with a password") from None
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key
    raise ValueError("no elliptic curve key")


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_TEXT_MAX)


def _write(path: Path, content: bytes, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    os.fchmod(fd, mode)  # whatever the umask is
    with os.fdopen(fd, "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
