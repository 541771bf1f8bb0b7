"""The signing snippets of the reference, run as they stand: Python, and Node where it is installed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance import body_of, header_of
from tests.pay.platforms.harness import APP_ID, APP_KEY, SKILL_SECRET

HTTP = Path(__file__).resolve().parents[3] / "docs" / "reference" / "http"
NODE = shutil.which("node")
# Without Node the test names show that Python alone was checked.
LANGUAGES = ["python", "javascript"] if NODE else ["python"]
PAGES = {
    "chinaums": (APP_ID, APP_KEY, "20220415104759", "99930a147f5353dd8a8f29a5329f37e9"),
    "dingdang": (SKILL_SECRET, "20170720T193559Z"),
}
EXAMPLES = {"chinaums": ["003-refund-query"], "dingdang": ["004-refund", "004-orderquery"]}
PYTHON_CALL = """
import json, sys
given = json.load(sys.stdin)
print(authorization(*given["keys"], given["body"].encode()))
"""
NODE_CALL = """
const given = JSON.parse(require("node:fs").readFileSync(0, "utf-8"));
console.log(authorization(...given.keys, Buffer.from(given.body, "utf-8")));
"""


def snippet(page: str, language: str) -> str:
    text = (HTTP / f"{page}.md").read_text("utf-8")
    found = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(found) == 1, f"{page}.md has {len(found)} snippets in {language}"
    return found[0]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("page", PAGES)
def test_the_snippet_signs_the_examples(page: str, language: str) -> None:
    code = snippet(page, language)
    command = [sys.executable, "-c", code + PYTHON_CALL]
    if language == "javascript":
        command = [str(NODE), "-e", code + NODE_CALL]
    for name in EXAMPLES[page]:
        given = json.dumps({"keys": PAGES[page], "body": body_of(name).decode()})
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
        assert done.stdout.strip().replace('", ', '",') == header_of(name)


@pytest.mark.parametrize("page", PAGES)
def test_every_language_has_its_snippet(page: str) -> None:
    for language in ("python", "javascript", "java", "php", "go"):
        assert "authorization(" in snippet(page, language)
