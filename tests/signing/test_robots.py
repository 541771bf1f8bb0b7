"""Promises of the signatures of chat robots: those of the documents' own code."""

from __future__ import annotations

import base64
import hashlib
import hmac
import urllib.parse

from shoudan_signing import robots

SECRET = "SEC1234567890"


def test_dingtalk_is_signed_as_its_document_has_it() -> None:
    # The lines of the document's Python example, word by word.
    timestamp = "1577262236757"
    secret_enc = SECRET.encode("utf-8")
    string_to_sign = f"{timestamp}\n{SECRET}"
    hmac_code = hmac.new(secret_enc, string_to_sign.encode(), digestmod=hashlib.sha256).digest()
    sign = urllib.parse.quote_plus(base64.b64encode(hmac_code))
    url = "https://oapi.dingtalk.com/robot/send?access_token=XXXXXX"
    expected = f"{url}&timestamp={timestamp}&sign={sign}"
    assert robots.dingtalk(url, SECRET, 1577262236757) == expected
    assert robots.dingtalk("https://a.example/x", SECRET, 1).startswith(
        "https://a.example/x?timestamp=1&sign="
    )


def test_feishu_is_signed_as_its_document_has_it() -> None:
    timestamp = 1599360473
    string_to_sign = f"{timestamp}\n{SECRET}"
    hmac_code = hmac.new(string_to_sign.encode(), digestmod=hashlib.sha256).digest()
    sign = base64.b64encode(hmac_code).decode("utf-8")
    assert robots.feishu(SECRET, timestamp) == {"timestamp": str(timestamp), "sign": sign}
