"""Alembic's way in, the same for the revisions of every service."""

from shoudan_kit.db.migrate import run_env

run_env()
