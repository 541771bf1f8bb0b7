"""What the calls of this service work with: the rules of one process, tied together."""

from __future__ import annotations

from dataclasses import dataclass

from shoudan_erp_ingest.config import ErpSettings
from shoudan_erp_ingest.documents import Documents
from shoudan_erp_ingest.ingest import Ingest
from shoudan_erp_ingest.quarantine import Quarantine, Retention
from shoudan_erp_ingest.subjects import Subjects
from shoudan_kit.credentials.book import Credentials
from shoudan_kit.secrets.sealing import KeyRing
from shoudan_kit.service import App


@dataclass(frozen=True)
class Context:
    """One process's ERP intake."""

    app: App[ErpSettings]
    ring: KeyRing
    credentials: Credentials
    ingest: Ingest
    documents: Documents
    subjects: Subjects
    quarantine: Quarantine
    retention: Retention
