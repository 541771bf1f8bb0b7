"""Runs this service's revisions the way every service does."""

from shoudan_kit.db.migrate import run_env

run_env()
