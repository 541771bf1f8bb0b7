"""PostgreSQL and NATS with nothing installed but Python packages."""

from shoudan_kit.embedded_home import EmbeddedError
from shoudan_kit.embedded_nats import Nats
from shoudan_kit.embedded_postgres import DatabaseUrls, Postgres

__all__ = ["DatabaseUrls", "EmbeddedError", "Nats", "Postgres"]
