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


def sign_v1(method: str, path: str, params: dict[str, str], body: bytes, key: str) -> str:
    """The first version, HMAC-SHA256: names and values as they are, and no first line."""
    names = [name for name in sorted(params, key=str.encode) if name != "sign"]
    shown = "&".join(f"{name}={params[name]}" for name in names)
    text = f"{method}\n{path}\n{shown}\n{hashlib.sha256(body).hexdigest()}"
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


def _text(digits: str) -> str:
    return bytes.fromhex(digits).decode()


# Lines of method, path, key, body and name=value&…, the last two in hex, and the version: 1 or 2.
if __name__ == "__main__":
    for line in sys.stdin:
        method, path, key, body, pairs, version = line.rstrip("\n").split("\t")
        split = [pair.split("=") for pair in pairs.split("&")]
        params = {_text(name): _text(value) for name, value in split}
        made = sign if version == "2" else sign_v1
        print(made(method, path, params, bytes.fromhex(body), key))
