"""What the container way keeps for a way back (docs/operations.md, "a backup, and the way back")."""

import gzip
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def test_a_file_of_the_log_is_kept_once_and_never_overwritten(tmp_path: Path) -> None:
    """What PostgreSQL repeats after a crash is done; what another server would write over it is a mistake."""
    server = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["postgres"]
    assert {"archive_mode=on", "archive_command=sh /archive-wal.sh %p %f"} <= set(server["command"])
    assert "./docker/postgres-wal.sh:/archive-wal.sh:ro" in server["volumes"]
    kept, log = tmp_path / "wal", tmp_path / "log"
    kept.mkdir()

    def archived(content: bytes) -> bool:
        log.write_bytes(content)
        command = ["sh", ROOT / "docker/postgres-wal.sh", log, "0001", kept]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    (kept / "0001.gz.part").write_bytes(b"of a process that was killed")
    assert archived(b"first")
    assert archived(b"first")
    assert not archived(b"other")
    assert [one.name for one in kept.iterdir()] == ["0001.gz"]
    assert gzip.decompress((kept / "0001.gz").read_bytes()) == b"first"
    kept.rename(tmp_path / "away")
    assert not archived(b"second")
