"""PostgreSQL and NATS with nothing installed but Python packages."""

from shoudan_kit.embedded.home import EmbeddedError
from shoudan_kit.embedded.nats import Nats
from shoudan_kit.embedded.postgres import DatabaseUrls, Postgres

__all__ = ["DatabaseUrls", "EmbeddedError", "Nats", "Postgres"]
