"""Promises: PostgreSQL from 16 on is served; an older one is refused in words, and nothing is written."""

from __future__ import annotations

import pytest

from shoudan_kit.config import ConfigError
from shoudan_kit.db import server_version
from shoudan_kit.db.migrate import plan
from shoudan_kit.db.pool import Database
from shoudan_kit.db.server_version import ServerTooOld, major_version, refuse_old
from shoudan_kit.service import App, services

WORDS = r"PostgreSQL [0-9]+ is too old: 99 or newer is needed"


@pytest.mark.parametrize("major", [16, 17, 18, 19])
def test_a_version_from_16_on_is_served(major: int) -> None:
    assert refuse_old(major) == major


def test_an_older_version_is_refused_in_words() -> None:
    with pytest.raises(ServerTooOld, match=r"^PostgreSQL 15 is too old: 16 or newer is needed$"):
        refuse_old(15)


async def test_the_server_says_its_version(database: Database) -> None:
    async with database.connect() as db:
        assert await major_version(db) >= server_version.OLDEST


async def test_a_process_on_an_older_server_does_not_start_and_writes_nothing(
    bare_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_version, "OLDEST", 99)
    service = services()["erp_ingest"]
    given = {"SHOUDAN_PROFILE": "test", "SHOUDAN_ERP_INGEST_DATABASE_URL": bare_url}
    app = App("erp_ingest", service.settings.load("erp_ingest", environ=given))
    with pytest.raises(ConfigError, match=f"database_url: {WORDS}"):
        await app.open()
    async with app.db.connect() as db:
        assert (await db.exec_driver_sql("SELECT count(*) FROM id_node")).scalar_one() == 0
    await app.close()


async def test_migrate_refuses_an_older_server(
    bare_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_version, "OLDEST", 99)
    schema = services()["erp_ingest"].schema
    assert schema is not None
    with pytest.raises(ServerTooOld, match=WORDS):
        await plan("erp_ingest", schema, bare_url)
