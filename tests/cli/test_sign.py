"""`shoudan sign` prints exactly what the examples carry, and takes no key from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from shoudan_cli.sign import app
from shoudan_signing import tsk_rsa2, tvs_hmac
from tests.conformance import body_of, header_of
from tests.signing.test_skill import STAMP, _pair

APP_ID = "12345678901234567890123456789012"
APP_KEY = "67890123456789012345678901234567"
NONCE = "99930a147f5353dd8a8f29a5329f37e9"
SECRET = "app_secret_test_0123456789"


def run(*args: str, key: str, body: bytes = b"") -> str:
    done = CliRunner().invoke(app, args, input=body, env={"SHOUDAN_SIGN_KEY": key})
    assert done.exit_code == 0, done.output
    return done.stdout.rstrip("\n")


def test_the_header_of_chinaums_is_the_examples() -> None:
    options = ("--app-id", APP_ID, "--timestamp", "20220415104759", "--nonce", NONCE)
    made = run("open-body", *options, key=APP_KEY, body=body_of("003-refund-query"))
    assert made.replace('", ', '",') == header_of("003-refund-query")


def test_the_signature_of_a_token_is_the_published_one() -> None:
    options = ("--app-id", APP_ID, "--timestamp", "20220415104759", "--nonce", NONCE)
    made = run("open-token", *options, key=APP_KEY)
    signature = "ba6969afe1c10f6b481e5fd2d072cc46d8b1f4216dbf7a9baa473d31ddca1414"
    assert made.endswith(f"signature={signature}")


def test_a_browser_jump_is_printed_as_a_query() -> None:
    content = b'{"requestTimestamp":"2022-04-15 10:47:59","mid":"898310148160568"}'
    options = ("--app-id", APP_ID, "--timestamp", "20220415104759", "--nonce", NONCE)
    made = run("open-form", *options, key=APP_KEY, body=content)
    assert made.endswith("signature=DCyxSHOWfi5W1WjOp85xaLF5%2Frgfr7NRLSQGkYe5g%2FA%3D")


def test_a_notify_is_signed_from_its_form() -> None:
    form = b"b=2&a=%E4%B8%AD&sign=old&c="
    assert run("key", key="k", body=form) == run("key", "--raw", key="k", body="a=中&b=2".encode())


@pytest.mark.parametrize("name", ["004-notify-delivery", "004-refund"])
def test_the_header_of_dingdang_is_the_examples(name: str, tmp_path: Path) -> None:
    file, key = tmp_path / "body.json", tmp_path / "key"
    file.write_bytes(body_of(name))
    key.write_text(f"{SECRET}\n", "utf-8")
    made = run("tsk-hmac", str(file), "--key-file", str(key), "--timestamp", STAMP, key="")
    assert made == header_of(name)


def test_the_later_schemes_are_printed_too() -> None:
    private, public = _pair(2048)
    given = tsk_rsa2.read(run("tsk-rsa2", "--timestamp", STAMP, key=private, body=b"{}"))
    assert given is not None
    assert tsk_rsa2.right(given, public, b"{}")
    made = run("tvs", "--credential-key", "me", "--timestamp", STAMP, key="token", body=b"{}")
    assert made == tvs_hmac.header("me", "token", STAMP, b"{}")


@pytest.mark.parametrize(
    "args",
    [
        ("tsk-rsa2",),
        ("key", "--kind", "SHA1"),
        ("open-token", "--app-id", "a", "--method", "MD4"),
    ],
)
def test_what_cannot_be_signed_is_said(args: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, args, input=b"a=1", env={"SHOUDAN_SIGN_KEY": "no key"})
    assert done.exit_code == 2
