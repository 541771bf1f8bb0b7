"""Who works on what waits for a person: notes among operators, which give no right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.text_statements import statement

Key = tuple[str, str, str]  # service, kind, number
OF_ONE_MAX: Final = 100

_THESE: Final = """
  SELECT t.service, t.kind, t.key FROM unnest(
    CAST(:services AS text[]), CAST(:kinds AS text[]), CAST(:keys AS text[])
  ) AS t (service, kind, key)"""
_FIND = statement(f"""
SELECT a.service, a.kind, a.key, a.operator FROM ({_THESE}) AS t
JOIN console_assignment a USING (service, kind, key)
""")
_OF_ONE = statement("""
SELECT service, kind, key FROM console_assignment WHERE operator_id = :operator_id
ORDER BY create_time LIMIT :count
""")
_TAKE = statement(f"""
INSERT INTO console_assignment (service, kind, key, operator_id, operator, create_time)
SELECT t.service, t.kind, t.key, :operator_id, :operator, shoudan_now() FROM ({_THESE}) AS t
ON CONFLICT (service, kind, key) DO UPDATE SET operator_id = EXCLUDED.operator_id,
  operator = EXCLUDED.operator, create_time = EXCLUDED.create_time
""")
_GIVE_BACK = statement(f"""
DELETE FROM console_assignment a USING ({_THESE}) AS t
WHERE a.service = t.service AND a.kind = t.kind AND a.key = t.key
""")


def _columns(keys: Sequence[Key]) -> dict[str, Any]:
    services, kinds, numbers = zip(*keys, strict=True)
    return {"services": list(services), "kinds": list(kinds), "keys": list(numbers)}


async def of_these(db: AsyncConnection, keys: Sequence[Key]) -> Mapping[Key, str]:
    """Who works on which of them, by name."""
    if not keys:
        return {}
    rows = (await db.execute(_FIND, _columns(keys))).all()
    return {(row.service, row.kind, row.key): row.operator for row in rows}


async def of_operator(db: AsyncConnection, operator_id: int) -> Sequence[Key]:
    """What an operator works on, oldest first."""
    values = {"operator_id": operator_id, "count": OF_ONE_MAX}
    return [(row.service, row.kind, row.key) for row in (await db.execute(_OF_ONE, values)).all()]


async def take(db: AsyncConnection, keys: Sequence[Key], operator_id: int, operator: str) -> None:
    """They are this operator's now, also those that were another's. Repeats change nothing."""
    if keys:
        values = {"operator_id": operator_id, "operator": operator}
        await db.execute(_TAKE, values | _columns(keys))


async def give_back(db: AsyncConnection, keys: Sequence[Key]) -> None:
    """They are free again. Repeats change nothing."""
    if keys:
        await db.execute(_GIVE_BACK, _columns(keys))
