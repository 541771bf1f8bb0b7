"""The figures as they are published: docs/chaos/mutation.json, and the page made of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

REPORT: Final = Path(__file__).resolve().parents[2] / "docs/chaos/mutation.md"
FIGURES: Final = REPORT.with_suffix(".json")
HEAD: Final = """# What the tests would not see

`just mutation [AREA …]` changes every line that the named tests reach in small ways, as a bug would: a bound
moved by one, a condition taken as true or as false, a term, an element, an entry, a named argument or a call
left out, a sum made a difference, a number or a text another. Each change is tried alone; a test must fail.
What lives was read one by one: what a test should have promised has its test now, and what changes nothing
that could be promised is listed with its reason in [equivalent.toml](../../tests/mutation/equivalent.toml),
and not counted.

*First* is the part that was found before the survivors were read. *Late* is found, too: the changed code does
not end. *Not reached* are changes of lines that the quick tests of the area do not run.
"""
COLUMNS: Final = ("killed", "late", "lives", "equivalent", "unreached")


def write(area: str, modules: dict[str, Any], date: str, commit: str) -> None:
    """Put an area's figures into both files; the first ones stay."""
    figures: dict[str, Any] = json.loads(FIGURES.read_text("utf-8")) if FIGURES.exists() else {}
    before = figures.get(area, {}).get("modules", {})
    for path, one in modules.items():
        one["first_ppm"] = before.get(path, {}).get("first_ppm", one["first_ppm"])
    figures[area] = {"date": date, "commit": commit, "modules": modules}
    FIGURES.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", "utf-8")
    REPORT.write_text(page(figures), "utf-8")


def page(figures: dict[str, Any]) -> str:
    """The page of these figures."""
    lines = [HEAD]
    for area, said in sorted(figures.items()):
        lines += [
            f"## {area}",
            "",
            f"{said['date']}, at {said['commit']}.",
            "",
            "| module | first | now | found | late | live | equivalent | not reached |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for path, one in sorted(said["modules"].items()):
            first, now = (f"{one[key] / 10_000:.1f} %" for key in ("first_ppm", "score_ppm"))
            counts = " | ".join(str(one.get(name, 0)) for name in COLUMNS)
            lines.append(f"| `{path}` | {first} | {now} | {counts} |")
        lines.append("")
    return "\n".join(lines)
