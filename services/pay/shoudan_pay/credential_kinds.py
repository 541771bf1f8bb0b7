"""What this service keeps credentials for."""

from __future__ import annotations

from typing import Final

from shoudan_kit.credentials.kinds import CredentialKind, pem

# A developer of ChinaUMS signs with its AppKey; notifies of a terminal with its communication key 通讯密钥.
UMS: Final = CredentialKind("chinaums", "appId of a ChinaUMS developer")
UMS_NOTIFY: Final = CredentialKind("chinaums-notify", "appId whose notifies are signed with it")
# What a Dingdang domain signs with, and what we sign with at it; without one of our own, the same.
DINGDANG: Final = CredentialKind("dingdang", "role/domainId, such as partner/skill1", form=pem)
DINGDANG_OWN: Final = CredentialKind("dingdang-own", "role/domainId that we sign at", form=pem)
# Signs the notifyUrl that a component is given.
COMPONENT: Final = CredentialKind("component", "payModeTemplateId, or uuid of a mode without one")
# Public keys that PayServer's callers sign their tokens with; the gateway verifies them.
PAYSERVER: Final = CredentialKind("payserver", "kid of a token's key", drawn=False, form=pem)
KINDS: Final = (UMS, UMS_NOTIFY, DINGDANG, DINGDANG_OWN, COMPONENT, PAYSERVER)
