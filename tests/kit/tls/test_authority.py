"""The small authority: what it issues, renews, shows and refuses."""

from __future__ import annotations

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from shoudan_kit.tls import authority as module
from shoudan_kit.tls.authority import (
    AUTHORITY,
    BACKDATED,
    CA,
    CA_KEY,
    CERT,
    CURRENT,
    KEY,
    Authority,
    AuthorityError,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def made(tmp_path: Path) -> Authority:
    return Authority.init(tmp_path / "pki")


def certificate(made: Authority, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((made.folder / name / CURRENT / CERT).read_bytes())


def test_a_certificate_names_its_process_and_its_addresses(made: Authority) -> None:
    issued = made.issue("erp_ingest", ["127.0.0.1", "erp.example.com"])
    names = certificate(made, "erp_ingest").extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.UniformResourceIdentifier) == [
        "spiffe://shoudan/erp_ingest"
    ]
    assert names.value.get_values_for_type(x509.DNSName) == [
        "erp-ingest.shoudan.internal",
        "erp.example.com",
    ]
    assert issued.names == ("erp.example.com", "127.0.0.1")
    assert issued.wrong == ""


def test_private_keys_are_the_owners_alone(made: Authority) -> None:
    made.issue("pay")
    for key in (made.folder / AUTHORITY / CA_KEY, made.folder / "pay" / CURRENT / KEY):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_the_files_are_a_pair_for_openssl(made: Authority) -> None:
    made.issue("pay")
    place = made.folder / "pay" / CURRENT
    context = ssl.create_default_context(cafile=str(place / CA))
    context.load_cert_chain(place / CERT, place / KEY)
    assert context.get_ca_certs()


def test_the_last_third_of_a_life_is_when_it_is_renewed(made: Authority) -> None:
    first = made.issue("pay", ["127.0.0.1"], days=6, now=NOW)
    assert made.rotate(now=NOW + timedelta(days=3)) == []
    [renewed] = made.rotate(now=NOW + timedelta(days=4, hours=1))
    assert renewed.serial != first.serial
    assert renewed.names == ("127.0.0.1",)
    assert renewed.begins is not None
    assert renewed.expires is not None
    assert renewed.expires - renewed.begins - BACKDATED == timedelta(days=6)


def test_all_are_renewed_early_when_that_is_asked_for(made: Authority) -> None:
    first = [made.issue(name, days=6, now=NOW) for name in ("order", "pay")]
    assert made.rotate(now=NOW) == []
    renewed = made.rotate(now=NOW, early=True)
    assert [one.name for one in renewed] == ["order", "pay"]
    assert not {one.serial for one in renewed} & {one.serial for one in first}


def test_a_clock_that_is_behind_takes_a_new_certificate(made: Authority) -> None:
    made.issue("pay", now=NOW)
    assert made.look("pay", NOW - timedelta(minutes=14)).wrong == ""
    assert "check the clock" in made.look("pay", NOW - timedelta(minutes=16)).wrong


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("missing", "cannot be read"),
        ("no pem", "no PEM file"),
        ("key of another", "another certificate's"),
        ("open", "chmod 600"),
        ("other authority", "of another authority"),
        ("expired", "expired 2030-01-08"),
    ],
)
def test_show_says_what_is_wrong_and_rotate_mends_it(
    made: Authority, tmp_path: Path, harm: str, said: str
) -> None:
    made.issue("pay", now=NOW)
    made.issue("order", now=NOW)
    place, now = made.folder / "pay" / CURRENT, NOW + timedelta(hours=1)
    if harm == "missing":
        (place / KEY).unlink()
    elif harm == "no pem":
        (place / CERT).write_text("nothing")
    elif harm == "key of another":
        (place / KEY).write_bytes((made.folder / "order" / CURRENT / KEY).read_bytes())
    elif harm == "open":
        (place / KEY).chmod(0o644)
    elif harm == "other authority":
        other = Authority.init(tmp_path / "other")
        other.issue("pay", now=NOW)
        for file in (CERT, KEY):
            (place / file).write_bytes((other.folder / "pay" / CURRENT / file).read_bytes())
    else:
        now = NOW + timedelta(days=8)
    assert said in made.look("pay", now).wrong
    assert "pay" in [one.name for one in made.rotate(now=now)]
    assert [one.wrong for one in made.show(now)] == ["", ""]


def test_a_rotation_killed_half_way_leaves_the_old_pair(
    made: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = made.issue("pay", now=NOW)
    written = module._write

    def dies(path: Path, content: bytes, mode: int) -> None:
        if path.name == CERT:
            raise KeyboardInterrupt
        written(path, content, mode)

    monkeypatch.setattr(module, "_write", dies)
    with pytest.raises(KeyboardInterrupt):
        made.issue("pay", now=NOW)
    assert made.look("pay", NOW) == first
    monkeypatch.undo()
    second = made.issue("pay", now=NOW)
    assert made.look("pay", NOW) == second
    assert len(list((made.folder / "pay").glob("g-*"))) == 1


def test_an_authority_is_made_once(made: Authority) -> None:
    with pytest.raises(AuthorityError, match="holds an authority already"):
        Authority.init(made.folder)


@pytest.mark.parametrize("name", ["", "authority", "Pay", "../pay", "pay/..", "a" * 64, "9"])
def test_a_name_that_is_no_process_is_refused(made: Authority, name: str) -> None:
    with pytest.raises(AuthorityError, match="no name of a process"):
        made.issue(name)


def test_wishes_out_of_bounds_are_refused(made: Authority, tmp_path: Path) -> None:
    with pytest.raises(AuthorityError, match="at most 825 days"):
        made.issue("pay", days=826)
    with pytest.raises(AuthorityError, match="further names"):
        made.issue("pay", ["a.example.com"] * 33)
    with pytest.raises(AuthorityError, match="neither a DNS name nor an address"):
        made.issue("pay", ["bücher"])
    with pytest.raises(AuthorityError, match="shoudan pki init"):
        Authority(tmp_path).issue("pay")
    (made.folder / AUTHORITY / CA_KEY).write_text("nothing")
    with pytest.raises(AuthorityError, match="no private key"):
        made.issue("pay")


def test_no_certificate_outlives_its_authority(tmp_path: Path) -> None:
    made = Authority.init(tmp_path / "pki", days=3)
    issued = made.issue("pay", days=7)
    assert issued.expires == made.certificate().not_valid_after_utc
