"""Alembic's way in: everything is in the kit."""

from shoudan_kit.db.migrate import run_env

run_env()
