"""Reads systemd units as far as tests need it, and what a process that one starts finds around it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.test_compose import folder_of_certificates
from tests.test_tidy import ROOT

FOLDER = ROOT / "deploy/systemd"
HOME = "/etc/shoudan"


def lines_of(file: Path) -> Iterator[tuple[str, str]]:
    """Key and value of each line, in order; `Environment=` comes many times."""
    for line in file.read_text("utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            yield key, value


def values(file: Path, key: str) -> list[str]:
    return [value for name, value in lines_of(file) if name == key]


def variables(file: Path) -> dict[str, str]:
    """What `Environment=` lines set, specifiers as written."""
    found = (pair for value in values(file, "Environment") for pair in value.split())
    return {pair.partition("=")[0]: pair.partition("=")[2] for pair in found}


def made(folder: Path) -> Path:
    """What stands in /etc/shoudan once the page was followed: credentials and the certificates' folders."""
    script = FOLDER / "new-credentials.sh"
    argv = [
        "sh",
        str(script),
        "https://pay.example.com",
        "db-1.example.com,db-2.example.com",
        folder,
    ]
    subprocess.run(argv, check=True, capture_output=True)
    authority = folder_of_certificates("cli") / "current/ca.crt"
    (folder / "pki").mkdir()
    shutil.copy(authority, folder / "pki/postgres-ca.crt")
    return folder


def environment(file: Path, service: str, home: Path) -> dict[str, str]:
    """That of replica 1: what all share, then the unit's own, credentials where systemd puts them."""
    shared = dict(lines_of(FOLDER / "shoudan.env"))
    loaded = dict(value.split(":", 1) for value in values(file, "LoadCredential"))
    pki = f"{HOME}/pki/{service}/"

    def filled(text: str) -> str:
        text = text.replace("%i", "1").replace(pki, f"{folder_of_certificates(service)}/")
        if text.startswith("%d/"):
            text = loaded[text.removeprefix("%d/")].replace(HOME, str(home))
        return text

    return {name: filled(text) for name, text in {**shared, **variables(file)}.items()}
