"""Promises of the file of targets: a mistake in it is said at the start, and no secret stands in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoudan_finance import alert_targets
from shoudan_finance.alert_targets import TargetWrong

URL = "https://robot.example/send?key=very-secret"


def written(folder: Path, *lines: str) -> str:
    (folder / "url").write_text(URL + "\n")
    (folder / "secret").write_text("SEC")
    (folder / "empty").write_text("")
    path = folder / "targets.toml"
    path.write_text("\n".join(lines).replace("@", f"{folder}/"))
    return str(path)


MAIL = (
    "[[target]]",
    'name = "mail"',
    'kind = "mail"',
    'host = "smtp.example"',
    'user = "shoudan"',
    'password_file = "@secret"',
    r'sender = "shoudan\u0040corp.example"',
    r'to = ["ops\u0040corp.example"]',
    'groups = ["down_channel"]',
)


def test_targets_are_read_with_their_secrets_which_nothing_shows(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "[[target]]",
        'name = "ding"',
        'kind = "dingtalk"',
        'url_file = "@url"',
        'secret_file = "@secret"',
        *MAIL,
    )
    found = alert_targets.load(path)
    assert list(found) == ["ding", "mail"]
    assert (found["ding"].url, found["ding"].secret, found["mail"].password) == (URL, "SEC", "SEC")
    assert found["ding"].wants("up_channel")
    assert found["mail"].wants("down_channel")
    assert not found["mail"].wants("up_channel")
    assert "secret" not in repr(found).lower()
    assert alert_targets.load("") == {}


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (["[[target]]", 'name = "A"', 'kind = "wecom"', 'url_file = "@url"'], "a name has"),
        (["[[target]]", 'name = "partner"', 'kind = "wecom"', 'url_file = "@url"'], "a name has"),
        (["[[target]]", 'name = "a"', 'kind = "slack"', 'url_file = "@url"'], "Invalid enum"),
        (["[[target]]", 'name = "a"', 'kind = "wecom"'], "url_file is missing"),
        (["[[target]]", 'name = "a"', 'kind = "wecom"', f'url = "{URL}"'], "stand in files"),
        (["[[target]]", 'name = "a"', 'kind = "webhook"', 'url_file = "@url"'], "secret_file"),
        (["[[target]]", 'name = "a"', 'kind = "wecom"', 'url_file = "@none"'], "cannot be read"),
        (["[[target]]", 'name = "a"', 'kind = "wecom"', 'url_file = "@empty"'], "not one line"),
        (
            ["[[target]]", 'name = "a"', 'kind = "wecom"', 'url_file = "@secret"'],
            "no http or https",
        ),
        (
            ["[[target]]", 'name = "a"', 'kind = "wecom"', 'url_file = "@url"', "x = 1"],
            "unknown field",
        ),
        ([*MAIL, 'tls = "none"'], "without tls"),
        ([*MAIL[:-2], r'to = ["ops\u0040a.b, x\u0040a.b"]'], "is no address"),
        ([*MAIL[:-2], "to = []"], "needs host, sender and to"),
        ([*MAIL, *MAIL], "stands there twice"),
        (["[[target"], "targets.toml"),
    ],
)
def test_a_mistake_is_said(tmp_path: Path, lines: list[str], why: str) -> None:
    with pytest.raises(TargetWrong, match=why):
        alert_targets.load(written(tmp_path, *lines))
