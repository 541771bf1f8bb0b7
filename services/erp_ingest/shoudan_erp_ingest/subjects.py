"""Personal data on request: shown under audit, erased by phone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shoudan_erp_ingest import masking
from shoudan_erp_ingest.refusals import FieldInvalid, NotFound
from shoudan_erp_ingest.store import finding, pushes, subjects
from shoudan_erp_ingest.store.pushes import KeptPush
from shoudan_erp_ingest.store.subjects import Audited
from shoudan_erp_ingest.tables.schema import PUSH, TRADE
from shoudan_kit.secrets.sealing import KeyRing
from shoudan_kit.tasks.unit_of_work import UnitOfWork

BY_CHARS_MAX = 128
REASON_CHARS_MAX = 1_000
ERASE_AT_ONCE = 500  # documents of one transaction


@dataclass(frozen=True)
class Subjects:
    """What may be done with personal data; each call leaves a line in `audit`."""

    work: Callable[[str], UnitOfWork]
    new_id: Callable[[], int]
    ring: KeyRing

    async def reveal(self, kind: int, document_id: int, by: str, reason: str) -> dict[str, str]:
        """The personal data of one document by field. Refuses: NotFound, FieldInvalid."""
        _check(by, reason)
        async with self.work("erp_reveal") as work:
            found = await finding.by_id(work.db, self.ring, kind, document_id)
            if found is None:
                raise NotFound("trade" if kind == TRADE else "refund", str(document_id))
            await self._record(work, "reveal", kind, document_id, by, reason)
        return masking.personal(found.document)

    async def reveal_push(self, push_id: int, by: str, reason: str) -> tuple[KeptPush, bytes]:
        """A raw push and its exact body, empty after an erasure. Refuses: NotFound, FieldInvalid."""
        _check(by, reason)
        async with self.work("erp_reveal") as work:
            found = await pushes.read(work.db, [push_id])
            if not found:
                raise NotFound("push", str(push_id))
            await self._record(work, "reveal_push", PUSH, push_id, by, reason)
        return found[0], found[0].body(self.ring) or b""

    async def erase(self, phone: str, by: str, reason: str) -> int:
        """Remove the personal data of all documents and raw bodies with this phone; how many documents.

        Other persons in the same raw body lose that body too, but not their documents.
        """
        _check(by, reason)
        mac = self.ring.phone_mac(phone)
        if mac is None:
            raise FieldInvalid("phone", "not a phone")
        erased = 0
        while True:
            async with self.work("erp_erase") as work:
                documents, looked_at = await subjects.erase(work.db, mac, ERASE_AT_ONCE)
                line = Audited(self.new_id(), "erase", 0, 0, by, reason, documents, mac)
                await subjects.record(work.db, line)
            erased += documents
            if looked_at < ERASE_AT_ONCE:
                return erased

    async def _record(
        self, work: UnitOfWork, action: str, kind: int, document_id: int, by: str, reason: str
    ) -> None:
        line = Audited(self.new_id(), action, kind, document_id, by, reason, 1)
        await subjects.record(work.db, line)


def _check(by: str, reason: str) -> None:
    """A look needs a name and a reason."""
    for name, value, most in (("by", by, BY_CHARS_MAX), ("reason", reason, REASON_CHARS_MAX)):
        if not value.strip():
            raise FieldInvalid(name, "missing")
        if len(value) > most:
            raise FieldInvalid(name, f"at most {most} characters")
