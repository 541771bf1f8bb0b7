"""axe-core in a page: what is in the way of who cannot see, hear or point. tools/axe.sh fetches it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Final

from tests.console.chromium import Window

SOURCE: Final = gzip.decompress((Path(__file__).parent / "axe.min.js.gz").read_bytes()).decode()
RULES: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
GRAVE: Final = ("serious", "critical")
_RUN: Final = f"""axe.run(document, {json.dumps({"runOnly": RULES, "resultTypes": ["violations"]})})
  .then(found => found.violations
    .filter(one => {json.dumps(GRAVE)}.includes(one.impact))
    .map(one => `${{one.impact}} ${{one.id}}: ${{one.nodes[0].html.slice(0, 90)}}`))"""


async def grave(window: Window) -> list[str]:
    """What axe finds serious or critical in the page as it is, each with the first place of it."""
    if not await window.run("typeof axe === 'object'"):
        await window.run(f"{SOURCE}; 0")
    return await window.run(_RUN)
