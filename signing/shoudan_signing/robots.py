"""Robots of chat groups that sign: 钉钉 and 飞书.

Sources: open.dingtalk.com and open.feishu.cn, 自定义机器人 安全设置.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from urllib.parse import quote_plus


def dingtalk(url: str, secret: str, timestamp_ms: int) -> str:
    """The URL with 钉钉's timestamp and sign: HMAC-SHA-256 of "timestamp\\nsecret" under the secret."""
    mac = hmac.digest(secret.encode(), f"{timestamp_ms}\n{secret}".encode(), hashlib.sha256)
    sign = quote_plus(base64.b64encode(mac))
    joint = "&" if "?" in url else "?"
    return f"{url}{joint}timestamp={timestamp_ms}&sign={sign}"


def feishu(secret: str, timestamp_s: int) -> dict[str, str]:
    """飞书's fields of the body: HMAC-SHA-256 of nothing under "timestamp\\nsecret"."""
    mac = hmac.digest(f"{timestamp_s}\n{secret}".encode(), b"", hashlib.sha256)
    return {"timestamp": str(timestamp_s), "sign": base64.b64encode(mac).decode()}
