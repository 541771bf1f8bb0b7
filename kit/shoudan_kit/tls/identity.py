"""The certificate, key and authority of one process: checked at start, read anew when the files change."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from shoudan_kit import log, metrics
from shoudan_kit.tls.names import service_of

LOOK_EVERY_S: Final = 2.0
FILE_BYTES_MAX: Final = 256 * 1024

EXPIRES: Final = metrics.gauge(
    "certificate_expires_timestamp_seconds",
    "When the certificate that this process shows ends.",
    ("name",),
)

_log = log.get_logger("tls")


class TlsInvalid(ValueError):
    """Why certificate, key or authority cannot be used; one readable sentence without anything secret."""


@dataclass(frozen=True, slots=True)
class Material:
    """What the three files hold, checked: they belong together and are valid now."""

    cert: bytes
    key: bytes
    ca: bytes
    name: str
    serial: str
    begins: datetime
    expires: datetime


@dataclass(frozen=True, slots=True)
class Files:
    """Where certificate (with intermediates), private key and authorities are, all PEM."""

    cert: Path
    key: Path
    ca: Path

    def marks(self) -> tuple[tuple[int, int, int], ...]:
        """What changes when a file is replaced, also behind a link. Raises OSError."""
        stats = (one.stat() for one in (self.cert, self.key, self.ca))
        return tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in stats)

    def read(self, now: datetime | None = None) -> Material:
        """The files' content. Raises TlsInvalid."""
        cert, key, ca = (
            _content(setting, path)
            for setting, path in (
                ("tls_cert", self.cert),
                ("tls_key", self.key),
                ("tls_ca", self.ca),
            )
        )
        leaf = _certificates(cert, f"tls_cert: {self.cert}")[0]
        _certificates(ca, f"tls_ca: {self.ca}")
        if _public(leaf.public_key()) != self._public_of(key):
            raise TlsInvalid(f"tls_key: {self.key} is not the key of the certificate {self.cert}")
        now = now or datetime.now(UTC)
        begins, expires = leaf.not_valid_before_utc, leaf.not_valid_after_utc
        if now >= expires:
            raise TlsInvalid(f"tls_cert: {self.cert} expired {_moment(expires)}: issue a new one")
        if now < begins:
            raise TlsInvalid(f"tls_cert: {self.cert} begins {_moment(begins)}: check the clock")
        return Material(cert, key, ca, self._name(leaf), f"{leaf.serial_number:x}", begins, expires)

    def _public_of(self, key: bytes) -> bytes:
        try:
            return _public(serialization.load_pem_private_key(key, None).public_key())
        except (ValueError, TypeError):  # TypeError: it has a password
            raise TlsInvalid(
                f"tls_key: {self.key} is no PEM private key without password"
            ) from None

    def _name(self, leaf: x509.Certificate) -> str:
        try:
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            uris: list[str] = []
        else:
            uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        found = {name for uri in uris if (name := service_of(uri)) is not None}
        if len(found) != 1:
            raise TlsInvalid(
                f"tls_cert: {self.cert} must carry one name spiffe://shoudan/<service>"
            )
        return found.pop()


class Identity:
    """One process's files, as they are now. What replaces them and cannot be used is not taken."""

    def __init__(
        self,
        files: Files,
        *,
        look_every_s: float = LOOK_EVERY_S,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Reads the files. Raises TlsInvalid."""
        self.files, self._look_every_s, self._now_s = files, look_every_s, now_s
        self._lock = threading.Lock()  # gRPC asks from threads of its own
        self._marks = _marks(files)
        self._material = self._read()
        self._look_at = now_s() + look_every_s

    @property
    def material(self) -> Material:
        """The newest usable content; the files are looked at every `look_every_s` at most."""
        if self._now_s() < self._look_at:
            return self._material
        with self._lock:
            if self._now_s() >= self._look_at:
                self._look()
                self._look_at = self._now_s() + self._look_every_s
        return self._material

    def _read(self) -> Material:
        found = self.files.read()
        EXPIRES(found.name).set(found.expires.timestamp())
        return found

    def _look(self) -> None:
        """Take what was replaced. A pair that is half replaced does not fit and is read again later."""
        marks = _marks(self.files)
        if marks is not None and marks == self._marks:
            return
        try:
            self._material = self._read()
        except TlsInvalid as mistake:
            _log.warning("certificate_not_taken", reason=str(mistake))
            return
        self._marks = marks
        _log.info(
            "certificate_taken",
            serial=self._material.serial,
            expires=self._material.expires.isoformat(),
        )

    def server_context(self) -> ssl.SSLContext:
        """For listeners of Python's own TLS (HTTP): TLS 1.3, at each connection our newest certificate.

        Clients need no certificate: they are known by what they send.
        """
        first, serial = self._server_context(), self.material.serial
        newest = first

        def renew(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
            nonlocal newest, serial
            if self.material.serial != serial:
                newest, serial = self._server_context(), self.material.serial
            connection.context = newest

        first.sni_callback = renew
        return first

    def _server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self.files.cert, self.files.key)
        return context

    def client_context(self) -> ssl.SSLContext:
        """For connections of Python's own TLS (NATS): TLS 1.3, our certificate, our authorities alone."""
        material = self.material
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        try:
            context.load_verify_locations(cadata=material.ca.decode("ascii", "ignore"))
            context.load_cert_chain(self.files.cert, self.files.key)
        except (
            OSError,
            ssl.SSLError,
        ) as error:  # replaced at this moment; the next attempt reads both
            raise TlsInvalid(f"the files changed while they were read ({error})") from None
        return context


def _marks(files: Files) -> tuple[tuple[int, int, int], ...] | None:
    try:
        return files.marks()
    except OSError:
        return None


def _content(setting: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX)
    except OSError as error:
        raise TlsInvalid(f"{setting}: {path} cannot be read ({error.strerror})") from None


def _certificates(pem: bytes, where: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise TlsInvalid(f"{where} holds no PEM certificate") from None


def _public(key: Any) -> bytes:
    """A public key, whatever its algorithm, in a form that can be compared."""
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
