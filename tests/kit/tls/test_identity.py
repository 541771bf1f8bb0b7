"""The files of one process: what is wrong with them is said in a sentence, what replaces them is taken."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shoudan_kit import metrics
from shoudan_kit.config import ConfigError, ProcessSettings
from shoudan_kit.service import Service, run
from shoudan_kit.tls.authority import CA, CERT, CURRENT, KEY, Authority
from shoudan_kit.tls.identity import Files, Identity, TlsInvalid


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority.init(tmp_path / "pki")
    for name in ("order", "pay"):
        made.issue(name)
    return made


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> Files:
    """Copies, as another authority would put them: three files, replaced one after the other."""
    made = Files(tmp_path / CERT, tmp_path / KEY, tmp_path / CA)
    for path in (made.cert, made.key, made.ca):
        path.write_bytes((authority.folder / "order" / CURRENT / path.name).read_bytes())
    return made


def test_a_pair_is_taken_when_both_files_are_there(authority: Authority, files: Files) -> None:
    identity = Identity(files, look_every_s=0)
    first = identity.material
    assert first.name == "order"
    authority.issue("order")
    new = authority.folder / "order" / CURRENT
    files.cert.write_bytes((new / CERT).read_bytes())
    assert identity.material == first
    files.key.write_bytes((new / KEY).read_bytes())
    assert identity.material.serial == authority.look("order", datetime.now(UTC)).serial


def test_a_scrape_says_when_the_certificate_shown_ends(authority: Authority, files: Files) -> None:
    identity = Identity(files, look_every_s=0)
    first = ends()
    assert first == identity.material.expires.timestamp()
    authority.issue("order", days=3)
    for path in (files.cert, files.key):
        path.write_bytes((authority.folder / "order" / CURRENT / path.name).read_bytes())
    assert identity.material.expires.timestamp() == ends() != first


def ends() -> float | None:
    """What a scrape of this process says."""
    name = "shoudan_certificate_expires_timestamp_seconds"
    return metrics.REGISTRY.get_sample_value(name, {"name": "order"})


def test_files_that_go_leave_what_was_read(files: Files) -> None:
    identity = Identity(files, look_every_s=0)
    first = identity.material
    files.key.unlink()
    assert identity.material == first


def test_files_are_looked_at_now_and_then_alone(files: Files) -> None:
    moments = iter([0.0, 1.0, 1.0])
    identity = Identity(files, look_every_s=2, now_s=lambda: next(moments))
    files.cert.unlink()
    assert identity.material.name == "order"


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("no key", r"tls_key: .* cannot be read \(No such file"),
        ("folder", r"tls_key: .* cannot be read \(Is a directory\)"),
        ("no pem", "tls_key: .* is no PEM private key without password"),
        ("no cert", "tls_cert: .* holds no PEM certificate"),
        ("no ca", "tls_ca: .* holds no PEM certificate"),
        ("key of another", "tls_key: .* is not the key of the certificate"),
        ("expired", r"tls_cert: .* expired .* UTC: issue a new one"),
        ("early", r"tls_cert: .* begins .* UTC: check the clock"),
        ("of the authority", "must carry one name spiffe://shoudan/<service>"),
    ],
)
def test_what_cannot_be_used_is_said(
    authority: Authority, files: Files, harm: str, said: str
) -> None:
    now = datetime.now(UTC)
    if harm == "no key":
        files.key.unlink()
    elif harm == "folder":
        files.key.unlink()
        files.key.mkdir()
    elif harm in {"no pem", "no cert", "no ca"}:
        {"no pem": files.key, "no cert": files.cert, "no ca": files.ca}[harm].write_text("none")
    elif harm == "key of another":
        files.key.write_bytes((authority.folder / "pay" / CURRENT / KEY).read_bytes())
    elif harm == "expired":
        now += timedelta(days=8)
    elif harm == "early":
        now -= timedelta(hours=1)
    else:
        files.cert.write_bytes((authority.folder / "authority" / CA).read_bytes())
        files.key.write_bytes((authority.folder / "authority" / "ca.key").read_bytes())
    with pytest.raises(TlsInvalid, match=said):
        files.read(now)


def test_a_service_with_the_certificate_of_another_does_not_start(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, path in (("CERT", files.cert), ("KEY", files.key), ("CA", files.ca)):
        monkeypatch.setenv(f"SHOUDAN_PAY_TLS_{name}", str(path))

    async def start(_: object) -> None:
        raise AssertionError("it started")

    service = Service("pay", ProcessSettings, start)
    with pytest.raises(ConfigError, match="is the certificate of order, this is pay"):
        run(service)
