"""TLS 1.3 and nothing older under gRPC, which for Python has no setting for it."""

from __future__ import annotations

import os
from typing import Final

_CIPHERS: Final = "GRPC_SSL_CIPHER_SUITES"
# TLS 1.3 has ciphers of its own, which this list does not touch; of TLS 1.2 it leaves one that needs a
# shared secret, which no process has.
_NONE_OF_TLS_1_2: Final = "ECDHE-PSK-AES128-CBC-SHA"


def only_tls_1_3() -> None:
    """Refuse older versions in this process and its children; called before gRPC is imported."""
    os.environ[_CIPHERS] = _NONE_OF_TLS_1_2
