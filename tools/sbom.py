"""`just sbom`: the bill of materials of the image (CycloneDX), from what requirements-run.lock pins.

The same locks give the same bytes: no time stands in it, and its serial number is made of its content.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
import uuid
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement

ROOT: Final = Path(__file__).resolve().parent.parent
FILE: Final = ROOT / "sbom.cdx.json"
LOCK: Final = ROOT / "requirements-run.lock"
# The image's; what the lock holds for other systems is not in it.
IMAGE: Final = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
_HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})")
VERSION: Final = "1.6"  # of CycloneDX


def pins(lock: str) -> Iterator[tuple[str, str, list[str]]]:
    """Name, version and hashes of each package that is installed in the image."""
    for entry in re.split(r"\n(?=\S)", lock.strip()):
        wanted = Requirement(entry.partition("\\")[0].strip())
        if wanted.marker is None or wanted.marker.evaluate(dict(IMAGE)):
            (version,) = wanted.specifier
            yield wanted.name, version.version, sorted(_HASH.findall(entry))


def component(name: str, version: str, hashes: list[str]) -> dict[str, Any]:
    """One library; the hashes are those of the files that may be installed for it."""
    purl = f"pkg:pypi/{name}@{version}"
    return {
        "type": "library",
        "bom-ref": purl,
        "purl": purl,
        "name": name,
        "version": version,
        "hashes": [{"alg": "SHA-256", "content": one} for one in hashes],
        "licenses": _licenses_of(name),
    }


def _licenses_of(name: str) -> list[dict[str, Any]]:
    """As the package says; none for one that is not installed here."""
    try:
        said: Any = metadata(name)  # a mail message, which its type does not say
    except PackageNotFoundError:
        return []
    if expression := said.get("License-Expression"):
        return [{"expression": expression}]
    classifiers: list[str] = said.get_all("Classifier", [])
    classified = [one.rpartition(" :: ")[2] for one in classifiers if one.startswith("License :: ")]
    text: str = said.get("License") or ""
    named = ", ".join(classified) or text.partition("\n")[0]
    return [{"license": {"name": named}}] if named else []


def document() -> str:
    """The whole bill."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    parts = [component(*pin) for pin in pins(LOCK.read_text())]
    ours = {
        "type": "application",
        "bom-ref": project["name"],
        "name": project["name"],
        "version": project["version"],
        "licenses": [{"expression": project["license"]}],
    }
    whole: dict[str, Any] = {
        "$schema": f"http://cyclonedx.org/schema/bom-{VERSION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": VERSION,
        "version": 1,
        "metadata": {"component": ours},
        "components": parts,
        "dependencies": [
            {"ref": project["name"], "dependsOn": [one["bom-ref"] for one in parts]},
            *({"ref": one["bom-ref"]} for one in parts),
        ],
    }
    whole["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(whole)).urn
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Write it, or with --check say whether it is that of the lock."""
    if "--check" in sys.argv[1:]:
        fresh = FILE.exists() and FILE.read_text() == document()
        return 0 if fresh else _stale()
    FILE.write_text(document())
    return 0


def _stale() -> int:
    sys.stderr.write("sbom.cdx.json is not that of requirements-run.lock; run `just sbom`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
