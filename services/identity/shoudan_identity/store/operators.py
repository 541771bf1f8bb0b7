"""Operators, their recovery codes and known devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_identity.rows import OperatorRow, row_of
from shoudan_kit.db.text_statements import statement

DEVICES_MAX = 10  # known devices of one operator; beyond, the one used longest ago is forgotten

_BY_NAME = statement("""
SELECT operator_id, name, display_name, roles, disabled, password_hash, password_until, totp_sealed,
    totp_next_sealed, totp_step, create_time, created_by, update_time, changed_by, channels
FROM operator WHERE name = :name
""")
_BY_ID = statement("""
SELECT operator_id, name, display_name, roles, disabled, password_hash, password_until, totp_sealed,
    totp_next_sealed, totp_step, create_time, created_by, update_time, changed_by, channels
FROM operator WHERE operator_id = :operator_id
""")
_LOCK = statement("""
SELECT operator_id, name, display_name, roles, disabled, password_hash, password_until, totp_sealed,
    totp_next_sealed, totp_step, create_time, created_by, update_time, changed_by, channels
FROM operator WHERE operator_id = :operator_id FOR UPDATE
""")
_PAGE = statement("""
SELECT operator_id, name, display_name, roles, disabled, password_hash, password_until, totp_sealed,
    totp_next_sealed, totp_step, create_time, created_by, update_time, changed_by, channels
FROM operator WHERE name > :after AND (:channel_no = '' OR :channel_no = ANY(channels))
ORDER BY name LIMIT :most
""")
# In the order of numbers: of two changes that would leave no admin one waits, and finds the other done.
_LOCK_ADMINS = statement("""
SELECT operator_id FROM operator WHERE roles @> ARRAY['admin']::text[] AND NOT disabled
ORDER BY operator_id FOR UPDATE
""")
_INSERT = statement("""
INSERT INTO operator (operator_id, name, display_name, roles, channels, password_hash,
    password_until, create_time, created_by, update_time, changed_by)
VALUES (:operator_id, :name, :display_name, CAST(:roles AS text[]), CAST(:channels AS text[]),
    :password_hash, shoudan_now() + :once_s * interval '1 second', shoudan_now(), :by,
    shoudan_now(), :by)
ON CONFLICT DO NOTHING RETURNING operator_id
""")
_ANY = statement("SELECT EXISTS (SELECT 1 FROM operator) AS found")
_ROLES = statement("""
UPDATE operator SET roles = CAST(:roles AS text[]), update_time = shoudan_now(), changed_by = :by
WHERE operator_id = :operator_id
""")
_CHANNELS = statement("""
UPDATE operator SET channels = CAST(:channels AS text[]), update_time = shoudan_now(), changed_by = :by
WHERE operator_id = :operator_id
""")
_DISABLED = statement("""
UPDATE operator SET disabled = :disabled, update_time = shoudan_now(), changed_by = :by
WHERE operator_id = :operator_id
""")
# No password verifies against an empty hash.
_ERASE = statement("""
UPDATE operator SET name = :name, display_name = :name, disabled = true, password_hash = '',
    password_until = NULL, totp_sealed = NULL, totp_next_sealed = NULL, update_time = shoudan_now(),
    changed_by = :by
WHERE operator_id = :operator_id
""")
# Operators are few.
_RENAME_DOERS = statement("""
UPDATE operator SET created_by = CASE created_by WHEN :was THEN :name ELSE created_by END,
    changed_by = CASE changed_by WHEN :was THEN :name ELSE changed_by END
WHERE created_by = :was OR changed_by = :was
""")
_NAMES = statement("""
SELECT operator_id, name FROM operator WHERE operator_id = ANY(CAST(:ids AS bigint[]))
""")
_ONE_TIME = statement("""
UPDATE operator SET password_hash = :password_hash,
    password_until = shoudan_now() + :once_s * interval '1 second', totp_sealed = NULL,
    totp_next_sealed = NULL, update_time = shoudan_now(), changed_by = :by
WHERE operator_id = :operator_id
""")
# Only over the password that was checked: of two changes at once the second is refused.
_PASSWORD = statement("""
UPDATE operator SET password_hash = :password_hash, password_until = NULL,
    update_time = shoudan_now(), changed_by = name
WHERE operator_id = :operator_id AND password_hash = :checked RETURNING operator_id
""")
# A code counts once: of two logins with one code the second finds the step used.
_USE_STEP = statement("""
UPDATE operator SET totp_step = :step WHERE operator_id = :operator_id AND totp_step < :step
RETURNING operator_id
""")
_ENROL = statement("""
UPDATE operator SET totp_next_sealed = :sealed WHERE operator_id = :operator_id
""")
_CONFIRM = statement("""
UPDATE operator SET totp_sealed = totp_next_sealed, totp_next_sealed = NULL, totp_step = :step,
    update_time = shoudan_now(), changed_by = name
WHERE operator_id = :operator_id AND totp_next_sealed = :sealed AND totp_step < :step
RETURNING operator_id
""")
_DROP_CODES = statement("DELETE FROM recovery_code WHERE operator_id = :operator_id")
_ADD_CODES = statement("""
INSERT INTO recovery_code (operator_id, code_hash)
SELECT :operator_id, code FROM unnest(CAST(:codes AS bytea[])) AS given(code)
""")
_USE_CODE = statement("""
DELETE FROM recovery_code WHERE operator_id = :operator_id AND code_hash = :code
RETURNING operator_id
""")
_KNOWN = statement("""
SELECT EXISTS (
    SELECT 1 FROM known_device WHERE device_hash = :device AND operator_id = :operator_id
) AS device, EXISTS (
    SELECT 1 FROM session WHERE operator_id = :operator_id AND address = :address
        AND create_time > shoudan_now() - interval '30 days'
) AS address
""")
_SEEN = statement("""
INSERT INTO known_device (device_hash, operator_id, create_time, use_time)
VALUES (:device, :operator_id, shoudan_now(), shoudan_now())
ON CONFLICT (device_hash) DO UPDATE SET use_time = excluded.use_time
""")
_FORGET_DEVICES = statement("""
DELETE FROM known_device WHERE device_hash IN (
    SELECT device_hash FROM known_device WHERE operator_id = :operator_id
    ORDER BY use_time DESC OFFSET :most
)
""")
_DROP_DEVICES = statement("DELETE FROM known_device WHERE operator_id = :operator_id")


async def by_name(db: AsyncConnection, name: str) -> OperatorRow | None:
    """The operator of this login name."""
    return _read((await db.execute(_BY_NAME, {"name": name})).first())


async def by_id(db: AsyncConnection, operator_id: int) -> OperatorRow | None:
    """The operator of this number."""
    return _read((await db.execute(_BY_ID, {"operator_id": operator_id})).first())


async def lock(db: AsyncConnection, operator_id: int) -> OperatorRow:
    """The operator, locked to the end of the transaction; it exists, for none is ever deleted."""
    row = _read((await db.execute(_LOCK, {"operator_id": operator_id})).first())
    assert row is not None, operator_id
    return row


async def erase(db: AsyncConnection, operator_id: int, was: str, name: str, by: str) -> None:
    """Replace the names of an operator, wherever its row or another's has them, and what lets it in."""
    await db.execute(_ERASE, {"operator_id": operator_id, "name": name, "by": by})
    await db.execute(_RENAME_DOERS, {"was": was, "name": name})
    for drop in (_DROP_CODES, _DROP_DEVICES):
        await db.execute(drop, {"operator_id": operator_id})


async def names(db: AsyncConnection, ids: Sequence[int]) -> dict[int, str]:
    """Login names by number."""
    rows = (await db.execute(_NAMES, {"ids": list(ids)})).all()
    return {row.operator_id: row.name for row in rows}


async def page(
    db: AsyncConnection, after: str, most: int, channel_no: str = ""
) -> list[OperatorRow]:
    """Operators by name, behind `after`; of a channel its accounts alone."""
    binds = {"after": after, "most": most, "channel_no": channel_no}
    rows = (await db.execute(_PAGE, binds)).all()
    return [row for one in rows if (row := _read(one)) is not None]


async def lock_admins(db: AsyncConnection) -> list[int]:
    """The enabled admins, locked to the end of the transaction."""
    return list((await db.execute(_LOCK_ADMINS)).scalars())


async def any_operator(db: AsyncConnection) -> bool:
    """Whether there is one."""
    return (await db.execute(_ANY)).scalar_one()


async def insert(
    db: AsyncConnection,
    operator_id: int,
    name: str,
    display_name: str,
    roles: Sequence[str],
    password_hash: str,
    once_s: float,
    by: str,
    channels: Sequence[str] = (),
) -> bool:
    """Add an operator, or a partner's account, with a one-time password; False when the name is taken."""
    binds = {
        "operator_id": operator_id,
        "name": name,
        "display_name": display_name,
        "roles": list(roles),
        "channels": list(channels),
        "password_hash": password_hash,
        "once_s": once_s,
        "by": by,
    }
    return (await db.execute(_INSERT, binds)).first() is not None


async def set_roles(db: AsyncConnection, operator_id: int, roles: Sequence[str], by: str) -> None:
    """Replace its roles."""
    await db.execute(_ROLES, {"operator_id": operator_id, "roles": list(roles), "by": by})


async def set_channels(
    db: AsyncConnection, operator_id: int, channels: Sequence[str], by: str
) -> None:
    """Replace the channels of a partner's account."""
    binds = {"operator_id": operator_id, "channels": list(channels), "by": by}
    await db.execute(_CHANNELS, binds)


async def set_disabled(db: AsyncConnection, operator_id: int, disabled: bool, by: str) -> None:
    """Disable or enable it."""
    await db.execute(_DISABLED, {"operator_id": operator_id, "disabled": disabled, "by": by})


async def set_one_time(
    db: AsyncConnection, operator_id: int, password_hash: str, once_s: float, by: str
) -> None:
    """A one-time password; its authenticator, recovery codes and devices are forgotten."""
    whose = {"operator_id": operator_id}
    binds = {**whose, "password_hash": password_hash, "once_s": once_s, "by": by}
    for one in (_ONE_TIME, _DROP_CODES, _DROP_DEVICES):
        await db.execute(one, binds)


async def set_password(
    db: AsyncConnection, operator_id: int, checked: str, password_hash: str
) -> bool:
    """Replace the password whose hash was `checked`; False when it was replaced meanwhile."""
    binds = {"operator_id": operator_id, "checked": checked, "password_hash": password_hash}
    return (await db.execute(_PASSWORD, binds)).first() is not None


async def use_step(db: AsyncConnection, operator_id: int, step: int) -> bool:
    """Use up the code of a step; False when it was used before."""
    binds = {"operator_id": operator_id, "step": step}
    return (await db.execute(_USE_STEP, binds)).first() is not None


async def use_recovery_code(db: AsyncConnection, operator_id: int, code: bytes) -> bool:
    """Use up a recovery code; False when it is none."""
    binds = {"operator_id": operator_id, "code": code}
    return (await db.execute(_USE_CODE, binds)).first() is not None


async def enrol(db: AsyncConnection, operator_id: int, sealed: bytes) -> None:
    """Keep a secret that is not in force yet."""
    await db.execute(_ENROL, {"operator_id": operator_id, "sealed": sealed})


async def confirm(
    db: AsyncConnection, operator_id: int, sealed: bytes, step: int, codes: Sequence[bytes]
) -> bool:
    """Put the enrolled secret into force, with new recovery codes; False when it changed meanwhile."""
    binds = {"operator_id": operator_id, "sealed": sealed, "step": step, "codes": list(codes)}
    if (await db.execute(_CONFIRM, binds)).first() is None:
        return False
    await db.execute(_DROP_CODES, binds)
    await db.execute(_ADD_CODES, binds)
    return True


async def known(
    db: AsyncConnection, operator_id: int, device: bytes, address: str
) -> tuple[bool, bool]:
    """Whether the operator has logged in with this device, and from this address lately."""
    binds = {"operator_id": operator_id, "device": device, "address": address}
    row = (await db.execute(_KNOWN, binds)).one()
    return row.device, row.address


async def seen(db: AsyncConnection, operator_id: int, device: bytes) -> None:
    """A login with this device; the oldest beyond DEVICES_MAX are forgotten."""
    binds = {"operator_id": operator_id, "device": device, "most": DEVICES_MAX}
    await db.execute(_SEEN, binds)
    await db.execute(_FORGET_DEVICES, binds)


def _read(row: Any) -> OperatorRow | None:
    if row is None:
        return None
    return row_of(OperatorRow, row)
