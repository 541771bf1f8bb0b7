"""How the first stage shares tests out: what uses one whole system together, what takes long first."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from xdist.scheduler.loadfile import LoadFileScheduling

ROOT: Final = Path(__file__).parents[1]
SYSTEM: Final = "tests/system"
HOUSE: Final = "the house's rules"
# Files that parse all of our code, which is done once where they are together.
RULES: Final = ("tests/test_tidy.py", "tests/test_vocabulary.py", "tests/test_mirror.py")
# From the longest on, as `--durations=0` says of a file (20 s and more); the others follow in the order
# of their names. One that is begun at the end would keep a core waiting.
LONG: Final = (
    SYSTEM,
    "tests/cli/test_systems.py",
    "tests/order/test_crashes.py",
    "tests/system/test_two_persons_commands.py",
    "tests/kit/events/test_nats.py",
    "tests/system/test_tls.py",
    "tests/test_every_field.py",
    "tests/cli/test_up.py",
    "tests/system/test_scripts.py",
    "tests/erp_ingest/test_shard_move.py",
    "tests/pay/platforms/test_kill.py",
    "tests/system/test_mixed.py",
    "tests/gateway/test_limits.py",
    "tests/system/test_shards.py",
    "tests/erp_ingest/test_shards.py",
    "tests/order/test_shards.py",
    "tests/delivery/test_crashes.py",
    "tests/identity/test_commands.py",
    "tests/delivery/test_shared_limits.py",
    "tests/erp_ingest/test_whole.py",
    "tests/pay/payserver/test_kill.py",
    HOUSE,
    "tests/kit/rpc/test_replicas.py",
    "tests/system/test_foreign_objects.py",
    "tests/pay/ledger/test_kill.py",
    "tests/pay/ledger/test_decide.py",
    "tests/delivery/test_stock.py",
    "tests/kit/events/test_nats_cluster.py",
)


@cache
def share_of(file: str) -> str:
    """What runs in one worker, one after the other: a file, or the files that share what is dear to make."""
    if file in RULES:
        return HOUSE
    if file.startswith(f"{SYSTEM}/") and "System.start(" not in (ROOT / file).read_text("utf-8"):
        return SYSTEM
    return file


@cache
def rank(file: str) -> int:
    """The place of a file in the order."""
    share = share_of(file)
    return LONG.index(share) if share in LONG else len(LONG)


class Shares(LoadFileScheduling):
    """xdist's own sharing out by file, but of shares."""

    def _split_scope(self, nodeid: str) -> str:
        return share_of(nodeid.partition("::")[0])
