"""`shoudan sign` prints exactly what the examples carry, and takes no key from the command line."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from urllib.parse import urlencode

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


VECTORS = json.loads(
    (Path(__file__).parents[2] / "docs/reference/http/signing/vectors.json").read_text("utf-8")
)


def test_a_channel_s_call_is_signed_as_the_vectors_say(tmp_path: Path) -> None:
    """The call's parameters in its query, and a body where it has one."""
    tried = 0
    for one in VECTORS:
        params = {name: one["params"][name] for name in one["params"] if name != "sign"}
        stamped = {name: params.pop(name) for name in ("timestamp", "nonce", "sign_type")}
        body = tmp_path / "body"
        body.write_bytes(one["body"].encode())
        in_body = one["method"] == "POST"
        query = {"channel_no": params["channel_no"]} if in_body else params
        made = run(
            "channel",
            f"{one['path']}?{urlencode(query)}",
            *("--method", one["method"], "--timestamp", stamped["timestamp"]),
            *("--nonce", stamped["nonce"], *(("--form", str(body)) if in_body else ())),
            key=one["key"],
        )
        assert made.rpartition("sign=")[2] == one["sign"], one["name"]
        tried += 1
    assert tried == len(VECTORS) >= 10


def test_the_original_s_rule_has_neither_time_nor_nonce() -> None:
    made = run("channel", "/order/query?channel_no=test&request_no=r1", "--scheme", "MD5", key="k")
    digest = hashlib.md5(b"channel_notestrequest_nor1k", usedforsecurity=False).hexdigest()
    assert made == f"/order/query?channel_no=test&request_no=r1&sign={digest}"


def test_a_notify_s_headers_are_made_and_checked() -> None:
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    options = ("--id", "msg_p5jXN8AQM9LWM0D4loKWxJek", "--timestamp", "1614265330")
    signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    made = run("notify", *options, key=secret, body=body)
    assert made.splitlines()[2] == f"webhook-signature: {signature}"
    assert run("notify", *options, "--check", signature, key=secret, body=body) == "verified"
    wrong = CliRunner().invoke(
        app,
        ["notify", *options, "--check", signature],
        input=body + b" ",
        env={"SHOUDAN_SIGN_KEY": secret},
    )
    assert (wrong.exit_code, "fits none" in wrong.stderr) == (1, True)
