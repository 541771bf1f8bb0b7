"""Settings: where each value comes from, and every mistake told at once without telling secrets."""

from base64 import b64encode
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from pydantic import Field, ValidationError

from shoudan_kit.config import (
    ConfigError,
    MigrateSettings,
    ProcessSettings,
    Secret,
    ServiceSettings,
    Settings,
)
from shoudan_kit.setting_rows import describe
from shoudan_kit.tls.authority import CA, CERT, CURRENT, KEY, Authority

URL = "postgresql://u:hunter2@db/x"


class Sample(ServiceSettings):
    retry_s: float = Field(3, gt=0, description="Seconds between tries.", examples=[5])
    queues: tuple[str, ...] = Field((), description="Queues served.")


def load(tmp_path: Path, toml: str = "", cls=Sample, section="sample", **environ: str):
    path = tmp_path / "shoudan.toml"
    path.write_text(toml)
    return cls.load(section, path, environ=environ)


@pytest.mark.parametrize(
    ("toml", "environ", "expected"),
    [
        ("", {}, 8),
        ("[shared]\ndb_pool_size = 9", {}, 9),
        ("[shared]\ndb_pool_size = 9\n[sample]\ndb_pool_size = 10", {}, 10),
        ("[sample]\ndb_pool_size = 10", {"SHOUDAN_DB_POOL_SIZE": "11"}, 11),
        ("", {"SHOUDAN_DB_POOL_SIZE": "11", "SHOUDAN_SAMPLE_DB_POOL_SIZE": "12"}, 12),
        ("", {"SHOUDAN_SAMPLE_DB_POOL_SIZE": ""}, 8),
    ],
)
def test_the_nearest_source_wins(tmp_path, toml, environ, expected):
    given = {"SHOUDAN_SAMPLE_DATABASE_URL": URL, **environ}
    assert load(tmp_path, toml, **given).db_pool_size == expected


def test_the_file_may_be_named_by_a_variable(tmp_path):
    path = tmp_path / "named.toml"
    path.write_text(f'[sample]\ndatabase_url = "{URL}"')
    settings = Sample.load("sample", environ={"SHOUDAN_CONFIG": str(path)})
    assert settings.database_url.reveal() == URL


def test_a_secret_may_come_from_a_file_without_its_line_break(tmp_path):
    path = tmp_path / "secret"
    path.write_text(URL + "\n")
    settings = load(tmp_path, SHOUDAN_SAMPLE_DATABASE_URL_FILE=str(path))
    assert settings.database_url.reveal() == URL


def test_lists_come_as_json_or_with_commas(tmp_path):
    for text in ("a,b", "a, b", '["a","b"]'):
        given = {"SHOUDAN_SAMPLE_DATABASE_URL": URL, "SHOUDAN_SAMPLE_QUEUES": text}
        assert load(tmp_path, **given).queues == ("a", "b")


def test_all_mistakes_are_told_together_with_origin_value_and_example(tmp_path):
    with pytest.raises(ConfigError) as told:
        load(
            tmp_path,
            "loose = 1\n[sample]\nretry_sec = 5\nlisten_port = 70000",
            SHOUDAN_SAMPLE_RETRY_S="soon",
            SHOUDAN_DB_POOL_SIZE="0",
        )
    text = str(told.value)
    assert len(told.value.mistakes) == 6
    assert "SHOUDAN_SAMPLE_RETRY_S = 'soon'" in text
    assert "for example 5" in text
    assert "SHOUDAN_DB_POOL_SIZE = '0'" in text
    assert "[sample] listen_port = 70000" in text
    assert "[sample] retry_sec: no such setting; retry_s?" in text
    assert "loose stands outside" in text
    assert "database_url: Field required; set SHOUDAN_SAMPLE_DATABASE_URL" in text


def test_a_wrong_secret_is_told_without_its_value(tmp_path):
    class Strict(Settings):
        key: Secret = Field(min_length=32, description="Signing key.")

    with pytest.raises(ConfigError) as told:
        load(tmp_path, cls=Strict, SHOUDAN_SAMPLE_KEY="hunter2")
    assert "SHOUDAN_SAMPLE_KEY = (secret)" in str(told.value)
    assert "hunter2" not in str(told.value)


def test_a_secret_given_twice_or_unreadable_is_a_mistake(tmp_path):
    with pytest.raises(ConfigError, match="both set"):
        load(
            tmp_path,
            SHOUDAN_SAMPLE_DATABASE_URL=URL,
            SHOUDAN_SAMPLE_DATABASE_URL_FILE=str(tmp_path),
        )
    with pytest.raises(ConfigError, match=r"_FILE: .* cannot be read"):
        load(tmp_path, SHOUDAN_SAMPLE_DATABASE_URL_FILE=str(tmp_path / "absent"))


def test_an_unreadable_or_broken_file_is_a_mistake(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        ProcessSettings.load("sample", tmp_path / "absent.toml", environ={})
    with pytest.raises(ConfigError, match="is not TOML"):
        load(tmp_path, "[[", cls=ProcessSettings)


def test_prod_refuses_demo_secrets(tmp_path):
    given = {"SHOUDAN_SAMPLE_DATABASE_URL": "demo-url"}
    with pytest.raises(ConfigError) as raised:  # it is no URL, which is another mistake
        load(tmp_path, **given)
    assert "demo secret" not in str(raised.value)
    with pytest.raises(ConfigError, match="database_url: a demo secret"):
        load(tmp_path, SHOUDAN_PROFILE="prod", **given)


def test_a_secret_never_shows(tmp_path):
    settings = load(tmp_path, SHOUDAN_SAMPLE_DATABASE_URL=URL)
    shown = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert "hunter2" not in shown


def test_settings_do_not_change_and_take_no_unknown_names():
    settings = ProcessSettings()
    with pytest.raises(ValidationError):
        settings.drain_s = 1
    with pytest.raises(ValidationError):
        ProcessSettings(drain=1)


def test_a_constructor_reads_no_environment(monkeypatch):
    monkeypatch.setenv("SHOUDAN_PROFILE", "prod")
    monkeypatch.setenv("PROFILE", "prod")
    assert ProcessSettings().profile == "demo"


def test_a_setting_without_description_is_refused():
    with pytest.raises(TypeError, match="describe bare_s"):
        type("Bare", (Settings,), {"__annotations__": {"bare_s": int}, "__module__": __name__})


def test_the_reference_has_a_row_for_every_setting():
    rows = {row.name: row for row in describe(Sample, "sample")}
    assert list(rows) == list(Sample.model_fields)
    assert rows["database_url"].env == "SHOUDAN_SAMPLE_DATABASE_URL"
    assert (rows["database_url"].type, rows["database_url"].default) == ("Secret", "(required)")
    assert (rows["profile"].type, rows["profile"].default) == ("demo | test | prod", "demo")
    assert rows["owner_database_url"].type == "Secret | None"
    assert rows["nats_url"].type == "str | None"
    assert rows["retry_s"].description == "Seconds between tries."


OUTSIDE = str(IPv4Address(0))


@pytest.mark.parametrize("profile", ["demo", "test"])
@pytest.mark.parametrize("host", [OUTSIDE, "::", "10.1.2.3", "gateway"])
def test_a_profile_for_one_machine_serves_loopback_only(profile, host):
    given = {"SHOUDAN_PROFILE": profile, "SHOUDAN_LISTEN_HOST": host}
    with pytest.raises(ConfigError, match=r"listen_host: .* is reached from outside"):
        ProcessSettings.load("any", environ=given)


def test_the_default_profile_on_an_outside_address_is_refused():
    with pytest.raises(ConfigError, match="set SHOUDAN_PROFILE=prod"):
        ProcessSettings.load("any", environ={"SHOUDAN_LISTEN_HOST": OUTSIDE})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "[::1]", "localhost"])
def test_every_profile_serves_loopback(host):
    assert ProcessSettings.load("any", environ={"SHOUDAN_LISTEN_HOST": host}).listen_host == host


def test_prod_serves_the_address_it_is_given(tls_files):
    given = {"SHOUDAN_PROFILE": "prod", "SHOUDAN_LISTEN_HOST": OUTSIDE, **tls_files}
    assert ProcessSettings.load("any", environ=given).listen_host == OUTSIDE


@pytest.fixture
def tls_files(tmp_path):
    """The three files of a process named any."""
    Authority.init(tmp_path / "pki").issue("any")
    place = tmp_path / "pki" / "any" / CURRENT
    names = {"CERT": CERT, "KEY": KEY, "CA": CA}
    return {f"SHOUDAN_TLS_{name}": str(place / file) for name, file in names.items()}


class Caller(ServiceSettings):
    pay_target: str = Field("127.0.0.1:50052", description="gRPC address of pay.")


DB = "postgresql://a@localhost/c"
KEYS = {"SHOUDAN_AUDIT_LOG_KEYS": f"k1:{b64encode(bytes(32)).decode()}"}
VERIFIED = "postgresql://a@db/c?sslmode=verify-full&sslrootcert=/ca.crt"
EXPOSED = [
    ({"SHOUDAN_LISTEN_HOST": OUTSIDE}, "listen_host: 0.0.0.0 is reached from outside"),
    ({"SHOUDAN_PAY_TARGET": "dns:///pay:50051"}, "pay_target: dns:///pay:50051 is not on this"),
    ({"SHOUDAN_PAY_TARGET": "10.1.2.3:50051"}, "pay_target: 10.1.2.3:50051 is not on this"),
    ({"SHOUDAN_NATS_URL": "nats://u:hunter2@nats"}, "nats is not on this machine: write tls://"),
    ({"SHOUDAN_NATS_URL": "tls://nats:4222"}, "nats is not on this machine: set tls_cert"),
]


@pytest.mark.parametrize(("given", "said"), EXPOSED)
def test_prod_refuses_to_leave_this_machine_without_tls(given, said):
    with pytest.raises(ConfigError) as refused:
        Caller.load("any", environ={"SHOUDAN_PROFILE": "prod", "SHOUDAN_DATABASE_URL": DB, **given})
    assert said in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_prod_leaves_this_machine_with_tls(tls_files):
    given = {
        "SHOUDAN_PROFILE": "prod",
        **KEYS,
        "SHOUDAN_LISTEN_HOST": OUTSIDE,
        "SHOUDAN_PAY_TARGET": "dns:///pay:50051",
        "SHOUDAN_NATS_URL": "tls://nats-1:4222,tls://nats-2:4222",
        "SHOUDAN_DATABASE_URL": VERIFIED,
    }
    found = Caller.load("any", environ={**given, **tls_files})
    assert found.tls_files is not None
    assert found.tls_files.read().name == "any"


@pytest.mark.parametrize("target", ["127.0.0.1:5", "dns:///localhost:5", "ipv6:[::1]:5", "[::1]:5"])
def test_prod_needs_no_tls_on_this_machine(target):
    given = {
        "SHOUDAN_PROFILE": "prod",
        **KEYS,
        "SHOUDAN_DATABASE_URL": DB,
        "SHOUDAN_PAY_TARGET": target,
        "SHOUDAN_NATS_URL": "nats://127.0.0.1:4222",
    }
    assert Caller.load("any", environ=given).tls_files is None


@pytest.mark.parametrize("mode", ["", "?sslmode=require", "?sslmode=disable", "?sslmode=prefer"])
@pytest.mark.parametrize("cls", [ServiceSettings, MigrateSettings])
def test_prod_refuses_a_database_whose_certificate_is_not_checked(cls, mode):
    given = {
        "SHOUDAN_PROFILE": "prod",
        **KEYS,
        "SHOUDAN_DATABASE_URL": f"postgresql://a@db,localhost/c{mode}",
    }
    with pytest.raises(ConfigError, match="database_url: db is not on this machine: write sslmode"):
        cls.load("any", environ=given)
    given["SHOUDAN_DATABASE_URL"] = f"postgresql:///c?host=/run/postgresql{mode.replace('?', '&')}"
    cls.load("any", environ=given)


@pytest.mark.parametrize("keys", ["k1", "k1:AAAA", "k1:!"])
def test_keys_of_the_audit_log_that_cannot_be_used_are_a_mistake(keys):
    given = {"SHOUDAN_DATABASE_URL": DB, "SHOUDAN_AUDIT_LOG_KEYS": keys}
    with pytest.raises(ConfigError, match="audit_log_keys: keys"):
        ServiceSettings.load("any", environ=given)


def test_tls_needs_all_three_files(tls_files):
    with pytest.raises(ConfigError, match="tls_cert, tls_ca: TLS needs all of"):
        ProcessSettings.load("any", environ={**tls_files, "SHOUDAN_TLS_KEY": ""})


def test_files_that_are_missing_are_a_mistake(tls_files):
    absent = tls_files["SHOUDAN_TLS_KEY"] + ".absent"
    with pytest.raises(ConfigError, match=r"tls_key: .*\.absent cannot be read \(No such file"):
        ProcessSettings.load("any", environ={**tls_files, "SHOUDAN_TLS_KEY": absent})


def test_migrate_needs_the_urls_of_a_section_and_nothing_else(tmp_path):
    file = tmp_path / "shoudan.toml"
    file.write_text(f'[any]\ndatabase_url = "{VERIFIED}"\nsome_limit = 3\n')
    given = {"SHOUDAN_PROFILE": "prod", "SHOUDAN_LISTEN_HOST": OUTSIDE}
    found = MigrateSettings.load("any", file, environ=given)
    assert found.database_url.reveal() == VERIFIED
