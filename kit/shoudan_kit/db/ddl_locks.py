"""Which locks the statements of a revision take on tables that are there, as PostgreSQL documents it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import IntEnum
from typing import Final


class Lock(IntEnum):
    """A table lock, the stronger the greater."""

    ROW_EXCLUSIVE = 1  # as every write; blocks no reads or writes
    SHARE_UPDATE_EXCLUSIVE = 2  # stops only migrations and VACUUM
    SHARE = 3  # stops writes
    SHARE_ROW_EXCLUSIVE = 4  # stops writes
    ACCESS_EXCLUSIVE = 5  # stops reads and writes

    @property
    def words(self) -> str:
        """As PostgreSQL writes it."""
        return self.name.replace("_", " ")

    @property
    def stops(self) -> str:
        """Who waits while it is held."""
        if self is Lock.ACCESS_EXCLUSIVE:
            return "reads and writes wait"
        return "writes wait" if self >= Lock.SHARE else "nothing waits"


_TOKEN = re.compile(
    r"(?P<quoted>\$(?P<tag>\w*)\$.*?\$(?P=tag)\$|'(?:[^']|'')*')|(?P<comment>--[^\n]*)|(?P<end>;)",
    re.DOTALL,
)
_NAME: Final = r'(?:ONLY\s+)?"?([a-z_][a-z0-9_]*)"?'
_TABLE: Final = rf"(?:IF EXISTS\s+)?{_NAME}"
_CREATED = re.compile(rf"CREATE TABLE (?:IF NOT EXISTS )?{_NAME}", re.IGNORECASE)
_REFERENCED = re.compile(rf"REFERENCES {_NAME}", re.IGNORECASE)

# The first that fits a statement gives its lock; the group is the table. An index stands for its table.
_RULES: Final = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), lock)
    for pattern, lock in (
        (rf"ALTER TABLE {_TABLE}\s+VALIDATE CONSTRAINT", Lock.SHARE_UPDATE_EXCLUSIVE),
        (rf"ALTER TABLE {_TABLE}\s+(?:SET|RESET) \(", Lock.SHARE_UPDATE_EXCLUSIVE),
        (rf"ALTER TABLE {_TABLE}\s+ALTER COLUMN \S+ SET STATISTICS", Lock.SHARE_UPDATE_EXCLUSIVE),
        (rf"ALTER TABLE {_TABLE}\s+ADD CONSTRAINT \S+ FOREIGN KEY", Lock.SHARE_ROW_EXCLUSIVE),
        (rf"ALTER TABLE {_TABLE}", Lock.ACCESS_EXCLUSIVE),
        (rf"ALTER INDEX {_TABLE}\s+(?:SET|RESET) \(", Lock.SHARE_UPDATE_EXCLUSIVE),
        (rf"ALTER INDEX {_TABLE}\s+RENAME", Lock.SHARE_UPDATE_EXCLUSIVE),
        (rf"COMMENT ON TABLE {_NAME}", Lock.SHARE_UPDATE_EXCLUSIVE),
        (rf"COMMENT ON COLUMN {_NAME}\.", Lock.SHARE_UPDATE_EXCLUSIVE),
        (rf"COMMENT ON CONSTRAINT \S+ ON {_NAME}", Lock.SHARE_UPDATE_EXCLUSIVE),
        (
            rf"CREATE (?:UNIQUE )?INDEX CONCURRENTLY.*? ON {_NAME}",
            Lock.SHARE_UPDATE_EXCLUSIVE,
        ),
        (rf"CREATE (?:UNIQUE )?INDEX.*? ON {_NAME}", Lock.SHARE),
        (
            rf"CREATE (?:OR REPLACE )?(?:CONSTRAINT )?TRIGGER.*? ON {_NAME}",
            Lock.SHARE_ROW_EXCLUSIVE,
        ),
        (rf"DROP TRIGGER .*? ON {_NAME}", Lock.ACCESS_EXCLUSIVE),
        (rf"DROP INDEX CONCURRENTLY {_TABLE}", Lock.SHARE_UPDATE_EXCLUSIVE),
        (rf"DROP INDEX {_TABLE}", Lock.ACCESS_EXCLUSIVE),
        (rf"DROP TABLE {_TABLE}", Lock.ACCESS_EXCLUSIVE),
        (rf"TRUNCATE (?:TABLE )?{_NAME}", Lock.ACCESS_EXCLUSIVE),
        (rf"UPDATE {_NAME}", Lock.ROW_EXCLUSIVE),
        (rf"DELETE FROM {_NAME}", Lock.ROW_EXCLUSIVE),
        (rf"INSERT INTO {_NAME}", Lock.ROW_EXCLUSIVE),
    )
)


def statements(sql: str) -> Iterator[str]:
    """The statements of a script, in one line each, without comments; quoted text may hold semicolons."""
    kept, start = "", 0
    for token in _TOKEN.finditer(sql):
        kept += sql[start : token.start()]
        start = token.end()
        if token["quoted"] is not None:
            kept += token[0]
        elif token["end"] is not None:
            if one := " ".join(kept.split()):
                yield one
            kept = ""
    if one := " ".join((kept + sql[start:]).split()):
        yield one


def locks(sql: str) -> dict[str, Lock]:
    """The strongest lock of each table or index that the script names and does not make itself."""
    made: set[str] = set()
    found: dict[str, Lock] = {}
    for one in statements(sql):
        if created := _CREATED.match(one):
            made.add(created[1])
            for table in set(_REFERENCED.findall(one)) - made:
                found[table] = max(Lock.SHARE_ROW_EXCLUSIVE, found.get(table, Lock.ROW_EXCLUSIVE))
            continue
        for pattern, lock in _RULES:
            if hit := pattern.match(one):
                if hit[1] not in made:
                    found[hit[1]] = max(lock, found.get(hit[1], lock))
                break
    return found
