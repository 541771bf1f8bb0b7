"""Every sealed column of a running service walked to its end, for the tests of what is sealed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from grpc import aio

from shoudan.core.v1 import sealing_service_pb2 as pb
from shoudan.core.v1 import sealing_service_pb2_grpc as stubs


@dataclass
class Walked:
    """By column: values by key as they were found; and how many were sealed anew, or could not be."""

    counts: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    resealed: int = 0
    unreadable: int = 0


async def reseal(port: int, *, rows: int = 2, dry_run: bool = False) -> Walked:
    """Walk everything in small pages."""
    walked = Walked()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = stubs.SealingServiceStub(channel)
        for column in (await stub.ListSealed(pb.ListSealedRequest())).columns:
            counts: Counter[str] = Counter()
            request = pb.ResealRowsRequest(column=column.name, rows=rows, dry_run=dry_run)
            done = False
            while not done:
                page = await stub.ResealRows(request)
                counts.update({one.key_id: one.count for one in page.counts})
                walked.resealed += page.resealed
                walked.unreadable += len(page.unreadable)
                request.after, done = page.next, page.done
            walked.counts[column.name] = dict(counts)
    return walked
