"""Statements on who may call and on what was used up: credentials, domains, nonces, tokens."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import Rows
from shoudan_kit.db.text_statements import statement

TOKENS_MAX: Final = 10
TOKEN_S: Final = 3_600


class UmsApp(msgspec.Struct, frozen=True):
    """One row of ums_app."""

    app_id: str
    merchant_uuid: str
    mid: str
    tid: str
    mer_name: str
    secret_name: str
    notify_secret_name: str
    base_url: str
    source_id: str
    enabled: bool


class Domain(msgspec.Struct, frozen=True):
    """One row of dingdang_domain."""

    role: str
    domain_id: str
    merchant_uuid: str
    scheme: str
    secret_name: str
    own_secret_name: str
    credential_key: str
    paid_url: str
    refunded_url: str
    base_url: str
    enabled: bool


def _upsert(table: str, rows: Rows[Any], key: tuple[str, ...]) -> Any:
    """Write a row; gives what it replaced."""
    changed = ", ".join(f"{name} = excluded.{name}" for name in rows.names if name not in key)
    return statement(f"""
WITH written AS (
    INSERT INTO {table} ({rows.of()}, modify_time)
    VALUES ({", ".join(f":{name}" for name in rows.names)}, shoudan_now())
    ON CONFLICT ({", ".join(key)}) DO UPDATE SET {changed}, modify_time = shoudan_now()
)
SELECT {rows.of()} FROM {table} WHERE {" AND ".join(f"{name} = :{name}" for name in key)}
""")


_APPS: Final = Rows(UmsApp)
_DOMAINS: Final = Rows(Domain)
_SET_APP = _upsert("ums_app", _APPS, ("app_id",))
_SET_DOMAIN = _upsert("dingdang_domain", _DOMAINS, ("role", "domain_id"))
_APP_BY_ID = statement(f"SELECT {_APPS.of()} FROM ums_app WHERE app_id = :app_id AND enabled")
_APPS_BY_MID = statement(f"""
SELECT {_APPS.of()} FROM ums_app WHERE mid = :mid AND tid = :tid AND enabled ORDER BY app_id LIMIT 10
""")
_APP_BY_TOKEN = statement(f"""
SELECT {_APPS.of("a")} FROM ums_token t
JOIN ums_app a ON a.app_id = t.app_id AND a.enabled
WHERE t.token_hash = :token_hash AND t.expire_time > shoudan_now()
""")
_DOMAIN_BY_ID = statement(f"""
SELECT {_DOMAINS.of()} FROM dingdang_domain WHERE role = :role AND domain_id = :domain_id AND enabled
""")
_APP_OF = statement(f"""
SELECT {_APPS.of()} FROM ums_app WHERE merchant_uuid = :merchant AND enabled AND base_url <> ''
    AND (:app_id = '' OR app_id = :app_id) ORDER BY app_id LIMIT 1
""")
_DOMAIN_OF = statement(f"""
SELECT {_DOMAINS.of()} FROM dingdang_domain WHERE role = 'partner' AND merchant_uuid = :merchant AND enabled
    AND base_url <> '' AND (:domain_id = '' OR domain_id = :domain_id) ORDER BY domain_id LIMIT 1
""")
_PLATFORM_DOMAINS = statement(f"""
SELECT {_DOMAINS.of()} FROM dingdang_domain
WHERE role = 'platform' AND enabled AND merchant_uuid = ANY(CAST(:merchants AS text[]))
""")
# An expired nonce may be used again; the row of an unexpired one is left unchanged.
_USE_NONCE = statement("""
INSERT INTO proof_nonce AS p (scope, nonce, content_hash, expire_time)
VALUES (:scope, :nonce, :content_hash, shoudan_now() + make_interval(secs => :keep_s))
ON CONFLICT (scope, nonce) DO UPDATE
    SET content_hash = excluded.content_hash, expire_time = excluded.expire_time
    WHERE p.expire_time <= shoudan_now()
RETURNING scope
""")
_NONCE_CONTENT = statement(
    "SELECT content_hash FROM proof_nonce WHERE scope = :scope AND nonce = :nonce"
)
_ADD_TOKEN = statement("""
INSERT INTO ums_token (token_hash, app_id, create_time, expire_time)
VALUES (:token_hash, :app_id, shoudan_now(), shoudan_now() + make_interval(secs => :keep_s))
""")
# The newest stay: an eleventh token ends the oldest of its app.
_TRIM_TOKENS = statement("""
DELETE FROM ums_token WHERE app_id = :app_id AND token_hash NOT IN (
    SELECT token_hash FROM ums_token WHERE app_id = :app_id AND expire_time > shoudan_now()
    ORDER BY create_time DESC, token_hash LIMIT :most)
""")
_FORGET_NONCES = statement("""
DELETE FROM proof_nonce WHERE (scope, nonce) IN (
    SELECT scope, nonce FROM proof_nonce WHERE expire_time <= shoudan_now() LIMIT 10000)
""")
_FORGET_TOKENS = statement("DELETE FROM ums_token WHERE expire_time <= shoudan_now()")


async def set_app(db: AsyncConnection, app: UmsApp) -> UmsApp | None:
    """Write one credential; gives what it replaced."""
    return _APPS.one(await db.execute(_SET_APP, msgspec.structs.asdict(app)))


async def set_domain(db: AsyncConnection, domain: Domain) -> Domain | None:
    """Write one domain; gives what it replaced."""
    return _DOMAINS.one(await db.execute(_SET_DOMAIN, msgspec.structs.asdict(domain)))


async def app_by_id(db: AsyncConnection, app_id: str) -> UmsApp | None:
    """The enabled credential."""
    return _APPS.one(await db.execute(_APP_BY_ID, {"app_id": app_id}))


async def apps_by_mid(db: AsyncConnection, mid: str, tid: str) -> list[UmsApp]:
    """The enabled credentials of a terminal; at most ten."""
    return _APPS.all(await db.execute(_APPS_BY_MID, {"mid": mid, "tid": tid}))


async def app_by_token(db: AsyncConnection, token_hash: bytes) -> UmsApp | None:
    """The app of a live token."""
    return _APPS.one(await db.execute(_APP_BY_TOKEN, {"token_hash": token_hash}))


async def domain_by_id(db: AsyncConnection, role: str, domain_id: str) -> Domain | None:
    """The enabled domain."""
    binds = {"role": role, "domain_id": domain_id}
    return _DOMAINS.one(await db.execute(_DOMAIN_BY_ID, binds))


async def app_of(db: AsyncConnection, merchant: str, app_id: str) -> UmsApp | None:
    """With which credential a merchant's refunds are sent: the one named, or its first."""
    return _APPS.one(await db.execute(_APP_OF, {"merchant": merchant, "app_id": app_id}))


async def domain_of(db: AsyncConnection, merchant: str, domain_id: str) -> Domain | None:
    """Through which domain a merchant's pays go as a partner: the one named, or its first."""
    binds = {"merchant": merchant, "domain_id": domain_id}
    return _DOMAINS.one(await db.execute(_DOMAIN_OF, binds))


async def platform_domains(db: AsyncConnection, merchants: Collection[str]) -> list[Domain]:
    """The enabled domains of these merchants to which we are the platform."""
    return _DOMAINS.all(await db.execute(_PLATFORM_DOMAINS, {"merchants": list(merchants)}))


async def use_nonce(
    db: AsyncConnection, scope: str, nonce: str, content_hash: bytes, keep_s: float
) -> bytes | None:
    """None when the nonce is new and now used; otherwise the hash of what it came with before."""
    key = {"scope": scope, "nonce": nonce}
    binds = {**key, "content_hash": content_hash, "keep_s": keep_s}
    if (await db.execute(_USE_NONCE, binds)).one_or_none() is not None:
        return None
    return (await db.execute(_NONCE_CONTENT, key)).scalar_one_or_none() or b""


async def add_token(db: AsyncConnection, app_id: str, token_hash: bytes) -> None:
    """Write a token and end the oldest beyond TOKENS_MAX."""
    binds = {"app_id": app_id, "token_hash": token_hash, "keep_s": TOKEN_S}
    await db.execute(_ADD_TOKEN, binds)
    await db.execute(_TRIM_TOKENS, {"app_id": app_id, "most": TOKENS_MAX})


async def forget(db: AsyncConnection) -> None:
    """Delete expired nonces and tokens."""
    await db.execute(_FORGET_NONCES)
    await db.execute(_FORGET_TOKENS)
