"""HMAC-SHA256-V2 of a call, for clients in Python 3."""

import hashlib
import hmac
import sys
from urllib.parse import quote


def sign(method: str, path: str, params: dict[str, str], body: bytes, key: str) -> str:
    """Hex of the signature. `params`: those of query and body together; `body`: its bytes, b"" of a GET."""
    shown = "&".join(
        f"{quote(name, safe='')}={quote(params[name], safe='')}"
        for name in sorted(params, key=str.encode)
        if name != "sign"
    )
    text = f"HMAC-SHA256-V2\n{method}\n{path}\n{shown}\n{hashlib.sha256(body).hexdigest()}"
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


def _text(digits: str) -> str:
    return bytes.fromhex(digits).decode()


if __name__ == "__main__":  # lines of method, path, key, body and name=value&…, the last two in hex
    for line in sys.stdin:
        method, path, key, body, pairs = line.rstrip("\n").split("\t")
        split = [pair.split("=") for pair in pairs.split("&")]
        params = {_text(name): _text(value) for name, value in split}
        print(sign(method, path, params, bytes.fromhex(body), key))
