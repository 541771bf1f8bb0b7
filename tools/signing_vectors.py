"""Golden vectors of calls and notifies, by openssl and not by our code: `python tools/signing_vectors.py`.

The canonical form is written out here a second time, byte by byte, from its description; digests and
signatures are openssl's. With --check the files are compared instead of written.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
HTTP: Final = ROOT / "docs/reference/http"
KEY: Final = "0123456789abcdef0123456789abcdef"
PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
STAMP: Final = {
    "channel_no": "test",
    "nonce": "0123456789abcdef",
    "sign_type": "HMAC-SHA256-V2",
    "timestamp": "1790000000",
}
EXAMPLE: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # of the specification's example
IDENT, SENT, OFF_S_MAX = "msg_11", 1_790_000_000, 300
NOTIFIED: Final = '{"channel_no": "test", "request_no": "r1", "order_id": "7", "status": 0}'
FORM: Final = "request_no=r1&memo=a%20b"
JSON: Final = '{"request_no":"r1","num":1,"memo":"中"}'
CASES: Final[tuple[tuple[str, str, str, dict[str, str], str], ...]] = (
    ("the page's example", "GET", "/order/query", {"face": "200", "note": "中", "request_no": "r 1&2"}, ""),
    ("no parameter but those of the signature", "GET", "/order/query", {}, ""),
    ("an empty value", "GET", "/order/query", {"city_no": "", "request_no": "r1"}, ""),
    ("what looks like another parameter", "GET", "/order/query", {"x": "1&y=2"}, ""),
    ("that other parameter", "GET", "/order/query", {"x": "1", "y": "2"}, ""),
    ("every mark of ASCII", "GET", "/order/query", {"note": " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"}, ""),
    ("what looks encoded", "GET", "/order/query", {"note": "%20+%2B"}, ""),
    ("a line break and a tab", "GET", "/order/query", {"note": "a\n/order/request\tb"}, ""),
    ("names beyond ASCII, by bytes", "GET", "/order/query", {"😀": "4", "\uffee": "3", "中": "2"}, ""),
    ("names that begin alike", "GET", "/order/query",
     {"a": "1", "a-b": "2", "a.b": "3", "aa": "4", "A": "5"}, ""),
    ("names of digits", "GET", "/order/query", {"10": "a", "9": "b", "1": "c"}, ""),
    ("a sign is no part of what is signed", "GET", "/order/query", {"request_no": "r1", "sign": "ff"}, ""),
    ("another path", "GET", "/order/request", {"request_no": "r1"}, ""),
    ("a form", "POST", "/order/request", {"request_no": "r1", "memo": "a b"}, FORM),
    ("JSON, numbers as they are written", "POST", "/order/request",
     {"request_no": "r1", "num": "1", "memo": "中"}, JSON),
)  # fmt: skip


def openssl(data: bytes, *options: str) -> str:
    """The hex that `openssl dgst -sha256` prints."""
    command = ["openssl", "dgst", "-sha256", "-r", *options]
    printed = subprocess.run(command, input=data, capture_output=True, check=True).stdout
    return printed.split()[0].decode()


def encoded(text: str) -> str:
    """Percent-encoding, byte by byte."""
    return "".join(chr(b) if b in PLAIN else f"%{b:02X}" for b in text.encode())


def vector(name: str, method: str, path: str, params: dict[str, str], body: str) -> dict[str, Any]:
    """One case with its canonical text and its signature."""
    whole = STAMP | params
    pairs = sorted((key.encode(), key) for key in whole if key != "sign")
    shown = "&".join(f"{encoded(key)}={encoded(whole[key])}" for _, key in pairs)
    text = "\n".join(("HMAC-SHA256-V2", method, path, shown, openssl(body.encode())))
    return {
        "name": name,
        "key": KEY,
        "method": method,
        "path": path,
        "params": whole,
        "body": body,
        "text": text,
        "sign": openssl(text.encode(), "-hmac", KEY),
    }


def first_version(
    name: str, method: str, path: str, params: dict[str, str], body: str
) -> dict[str, Any]:
    """The same in the first version: no first line, names and values as they are."""
    whole = STAMP | {"sign_type": "HMAC-SHA256"} | params
    names = sorted((key for key in whole if key != "sign"), key=str.encode)
    shown = "&".join(f"{key}={whole[key]}" for key in names)
    text = "\n".join((method, path, shown, openssl(body.encode())))
    one = vector(name, method, path, params, body)
    return one | {"params": whole, "text": text, "sign": openssl(text.encode(), "-hmac", KEY)}


def notify(
    name: str, secrets: str, now: int, signed_by: str, body: str = NOTIFIED
) -> dict[str, Any]:
    """A notify as it arrives, and whether it is ours; `signed_by`: the keys, in hex, in that order."""
    text = f"{IDENT}.{SENT}.{body}".encode()
    made = [openssl(text, "-mac", "HMAC", "-macopt", f"hexkey:{key}") for key in signed_by.split()]
    signature = " ".join(f"v1,{base64.b64encode(bytes.fromhex(one)).decode()}" for one in made)
    keys = {hex_of(one) for one in secrets.split()}
    return {
        "name": name,
        "secrets": secrets,
        "id": IDENT,
        "timestamp": str(SENT),
        "signature": signature,
        "body": body,
        "now": now,
        "ours": bool(keys & set(signed_by.split())) and abs(now - SENT) <= OFF_S_MAX,
    }


def hex_of(secret: str) -> str:
    """The key of a secret, in hex."""
    if secret.startswith("whsec_"):
        return base64.b64decode(secret.removeprefix("whsec_")).hex()
    return secret.encode().hex()


def notifies() -> list[dict[str, Any]]:
    """Notifies that are ours, and some that are not."""
    mine, old, other = hex_of(EXAMPLE), hex_of("old secret".replace(" ", "-")), hex_of("another")
    rows = [
        notify("a secret in Base64", EXAMPLE, SENT, mine),
        notify("a secret as it stands", "old-secret", SENT + 300, old),
        notify("while keys are exchanged", f"old-secret {EXAMPLE}", SENT - 300, f"{other} {mine}"),
        notify("signed by another", EXAMPLE, SENT, other),
        notify("too late", EXAMPLE, SENT + 301, mine),
        notify("from the future", EXAMPLE, SENT - 301, mine),
        notify("Chinese", EXAMPLE, SENT, mine, '{"failed_msg": "订单成功"}'),
    ]
    changed = notify("another body", EXAMPLE, SENT, mine)
    rows.append(changed | {"body": NOTIFIED.replace("0}", "90}"), "ours": False})
    for name, change in (
        ("another id", {"id": "msg_other"}),
        ("a time that is none", {"timestamp": "soon"}),
        ("no signature", {"signature": ""}),
        ("another scheme", {"signature": changed["signature"].replace("v1,", "v1a,")}),
        ("half of a signature", {"signature": changed["signature"][:20]}),
    ):
        rows.append(changed | {"name": name, "ours": False} | change)
    return rows


def files() -> dict[Path, list[dict[str, Any]]]:
    """The vectors of each file."""
    return {
        HTTP / "signing/vectors.json": [vector(*case) for case in CASES],
        HTTP / "signing/vectors_v1.json": [first_version(*case) for case in CASES],
        HTTP / "notify/vectors.json": notifies(),
    }


def main() -> int:
    """Write or check the files; 1 when one differs."""
    if shutil.which("openssl") is None:
        print("signing vectors: not run (no openssl here)")
        return 0
    for path, vectors in files().items():
        made = json.dumps(vectors, ensure_ascii=False, indent=1) + "\n"
        if "--check" not in sys.argv[1:]:
            path.write_text(made, "utf-8")
        elif path.read_text("utf-8") != made:
            print("run: python tools/signing_vectors.py", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
