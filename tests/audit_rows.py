"""The audit log as tests read it."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import text

from shoudan_kit.db.pool import Database

_LAST = text("""
SELECT before, after FROM audit_log WHERE subject_kind = :subject AND outcome = 'done'
ORDER BY id DESC LIMIT 1
""")


async def last_change(database: Database, subject: str) -> tuple[Any, Any]:
    """What the newest row of this kind of subject says of before and after."""
    async with database.connect() as db:
        before, after = (await db.execute(_LAST, {"subject": subject})).one()
    return json.loads(before or "{}"), json.loads(after)
