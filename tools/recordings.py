"""The recorded calls of the tests, as the gateway's OpenAPI document and the partners' pages show them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).resolve().parent.parent / "tests/gateway/examples"


def page() -> str:
    """gateway/shoudan_gateway/recordings.json: each recorded call with its answer, by partner."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(FOLDER.glob("*/*.toml")):
        found.setdefault(path.parent.name, []).append(recorded(path))
    return json.dumps(found, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def recorded(path: Path) -> dict[str, Any]:
    """One call: what was sent, and what was answered."""
    example = tomllib.loads(path.read_text("utf-8"))
    reply: Any = json.loads(example["reply_json"]) if "reply_json" in example else example["reply"]
    one: dict[str, Any] = {
        "name": path.stem,
        "path": example["path"],
        "method": example.get("method", "GET"),
        "status": example.get("status", 200),
    }
    for name in ("query", "body", "path_params"):
        if example.get(name):
            one[name] = example[name]
    if list(reply) == ["text"]:
        return one | {"text": reply["text"]}
    return one | {"reply": reply}
