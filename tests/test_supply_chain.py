"""What is in the image and what is known against it: the bill of materials, and the audit of advisories."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.model.bom import Bom

from tools import advisories, sbom
from tools.advisories import Audited

ROOT = Path(__file__).resolve().parent.parent
BILL = json.loads((ROOT / "sbom.cdx.json").read_text())
IN_IMAGE = "/usr/share/shoudan/sbom.cdx.json"


def test_the_bill_is_that_of_the_lock_and_the_same_each_time() -> None:
    assert sbom.document() == sbom.document() == sbom.FILE.read_text(), "run `just sbom`"


def test_every_package_of_the_image_is_listed_with_its_hashes() -> None:
    lock = (ROOT / "requirements-run.lock").read_text()
    listed = {one["purl"]: {h["content"] for h in one["hashes"]} for one in BILL["components"]}
    pinned = {
        f"pkg:pypi/{name}@{version}": set(re.findall(r"sha256:([0-9a-f]{64})", entry))
        for entry in re.split(r"\n(?=\S)", lock.strip())
        for name, version in re.findall(r"^([\w.-]+)==(\S+)", entry)
        if not re.search(r"sys_platform == '(win32|emscripten)'", entry)
    }
    assert len(pinned) > 40
    assert listed == pinned
    assert all(one["licenses"] for one in BILL["components"])
    assert BILL["metadata"]["component"]["name"] == "shoudan"


def test_the_bill_is_read_by_the_library_of_its_standard() -> None:
    read: Any = Bom.from_json(BILL)
    assert len(read.components) == len(BILL["components"])
    assert str(read.serial_number) in BILL["serialNumber"]


def test_the_image_has_the_bill() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert f"\nCOPY sbom.cdx.json {IN_IMAGE}\n" in dockerfile
    assert "!sbom.cdx.json" in (ROOT / ".dockerignore").read_text().splitlines()
    assert IN_IMAGE in (ROOT / "docs/operations.md").read_text()


REPORT = {
    "dependencies": [
        {"name": "good", "version": "1", "vulns": []},
        {"name": "bad", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]},
        {"name": "unknown", "skip_reason": "not found"},
    ]
}


def test_a_finding_is_named_and_what_was_not_looked_up_is_not_counted() -> None:
    audited = advisories.read(REPORT)
    assert (audited.findings, audited.skipped, audited.looked_up) == (
        ["bad 2: CVE-1 (mended in 3)"],
        ["unknown"],
        2,
    )
    shown = advisories.said("a.lock", audited)
    assert "not looked up: 1 packages (unknown …)" in shown


@pytest.mark.parametrize(
    ("audited", "code", "words"),
    [
        (advisories.read(REPORT), 1, "bad 2: CVE-1"),
        (Audited(looked_up=2), 0, "2 packages looked up"),
        (Audited(skipped=["a"]), 0, "not run, the index tells no advisories"),
        (Audited(error="cannot resolve"), 0, "not run, cannot resolve"),
    ],
)
def test_only_a_finding_fails_and_not_run_is_said(
    audited: Audited,
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(advisories, "audit", lambda _lock: audited)
    assert advisories.main() == code
    assert words in capsys.readouterr().out
