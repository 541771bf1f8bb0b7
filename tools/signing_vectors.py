"""Golden vectors of HMAC-SHA256-V2, by openssl and not by our code: `python tools/signing_vectors.py`.

The canonical form is written out here a second time, byte by byte, from its description; digests and
signatures are openssl's. With --check the file is compared instead of written.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
FILE: Final = ROOT / "docs/reference/http/signing/vectors.json"
KEY: Final = "0123456789abcdef0123456789abcdef"
PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
STAMP: Final = {
    "channel_no": "test",
    "nonce": "0123456789abcdef",
    "sign_type": "HMAC-SHA256-V2",
    "timestamp": "1790000000",
}
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


def main() -> int:
    """Write or check the file; 1 when it differs."""
    if shutil.which("openssl") is None:
        print("signing vectors: not run (no openssl here)")
        return 0
    made = json.dumps([vector(*case) for case in CASES], ensure_ascii=False, indent=1) + "\n"
    if "--check" not in sys.argv[1:]:
        FILE.write_text(made, "utf-8")
    elif FILE.read_text("utf-8") != made:
        print("run: python tools/signing_vectors.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
