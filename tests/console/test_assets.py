"""Promises about what browsers are sent: what it is, where it came from, and that nothing else is loaded."""

from __future__ import annotations

import hashlib
import json
import re

from shoudan_console.assets import FOLDER, Assets
from shoudan_console.site import TEMPLATES
from tools import vendor_console

VENDOR = FOLDER / "vendor"


def test_every_vendored_file_is_the_one_that_was_pinned() -> None:
    manifest = json.loads((VENDOR / vendor_console.MANIFEST).read_text("utf-8"))
    there = {one.name for one in VENDOR.iterdir()} - {vendor_console.MANIFEST}
    assert there == set(manifest)
    for name, about in manifest.items():
        found = hashlib.sha256((VENDOR / name).read_bytes()).hexdigest()
        assert found == about["sha256"], f"{name} is not what tools/vendor_console.py fetched"
        assert about["licence"]
    pinned = {(one.name, one.version) for one in vendor_console.PACKAGES}
    assert {(one["package"], one["version"]) for one in manifest.values()} == pinned


def test_what_is_sent_is_small_and_comes_from_here_alone() -> None:
    files = [one for one in FOLDER.rglob("*") if one.is_file()]
    assert sum(one.stat().st_size for one in files) < vendor_console.BYTES_MAX
    for template in TEMPLATES.iterdir():
        assert not re.search(r"(src|href)=\"(https?:)?//", template.read_text("utf-8")), template
    styles = [one.read_text("utf-8") for one in files if one.suffix == ".css"]
    assert styles
    assert not any(re.search(r"url\(\"?(https?:)?//|@import", one) for one in styles)


def test_an_address_changes_with_its_file(tmp_path) -> None:
    (tmp_path / "a.css").write_text("a{}")
    first = Assets(tmp_path).address("a.css")
    (tmp_path / "a.css").write_text("b{}")
    assert Assets(tmp_path).address("a.css") != first
    assert first.startswith("/static/a.css?v=")
