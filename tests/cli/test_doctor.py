"""What is wrong is said with its next step; what is sent away holds nobody's number and no secret."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from shoudan_cli import doctor
from shoudan_kit.process.replicas import Look, samples

NOW = 1_796_000_000


def look(text: str = "", state: str = "serving") -> Look:
    return Look("order", "http://127.0.0.1:1", state, 0, samples=samples(text))


WRONG = {
    'shoudan_law_broken{law="order_ends_once"} 1': ("LawBroken", "shoudan_law_broken is 1"),
    'shoudan_tasks_dead{kind="order.pay"} 2': ("TasksDead", "is 2"),
    "shoudan_outbox_lag_seconds 61": ("EventsLate", "is 61"),
    'shoudan_ledger_invariant_ok{scope="all"} 0': ("LedgerBroken", "proof failed"),
    f'shoudan_certificate_expires_timestamp_seconds{{name="a"}} {NOW + 3600}': (
        "CertificateEnds",
        "three days",
    ),
}


@pytest.mark.parametrize("text", WRONG)
def test_a_figure_that_is_wrong_is_said_with_its_page(text: str) -> None:
    alert, words = WRONG[text]
    (found,) = doctor.judged(look(f"# TYPE x gauge\n{text}\n"), NOW)
    assert words in found.what
    assert found.then == f"docs/operations.md#{alert.lower()}"


def test_a_replica_that_is_well_is_not_named() -> None:
    well = """shoudan_law_broken{law="a"} 0
shoudan_outbox_lag_seconds 0.5
shoudan_ledger_invariant_ok{scope="all"} 1
"""
    assert list(doctor.judged(look(well), NOW)) == []
    (away,) = doctor.judged(look(state="no answer (TimeoutError)"), NOW)
    assert away.what == "no answer (TimeoutError)"


def test_every_limit_has_a_page_that_is_there() -> None:
    pages = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
    for _, alert in doctor.LIMITS.values():
        assert f"### {alert}\n" in pages
        assert doctor._finding("x", "y", alert).then.endswith(alert.lower())


SECRETS = {
    '{"ts":1796070482.59}': '{"ts":1796070482.59}',
    "account 13812345678 refused": "account ***5678 refused",
    '{"rechage_account": "1000110000000003", "order_id": "915343590215910100"}': (
        '{"rechage_account": "***0003", "order_id": "915343590215910100"}'
    ),
    "GET /order/request?sign=ABCDEF0123&num=1": "GET /order/request?sign=***&num=1",
    '{"db_password": "hunter2", "n": 1}': '{"db_password": ***, "n": 1}',
    "SHOUDAN_TOKEN_KEYS=abc": "SHOUDAN_TOKEN_KEYS=***",
    "Authorization: Bearer eyJhbGciOi": "Authorization: *** ***",
    "postgresql://order:pw@db/x": "postgresql://***@db/x",
    "mail to li.lei@example.com failed": "mail to ***@*** failed",
}


@pytest.mark.parametrize("text", SECRETS)
def test_what_says_who_somebody_is_is_masked(text: str) -> None:
    assert doctor.masked(text) == SECRETS[text]


def test_the_report_is_one_file_without_what_is_nobodys_business(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "logs").mkdir(parents=True)
    lines = "".join(f"line {number} of 13812345678 token=abc\n" for number in range(20_000))
    (home / "logs" / "order.log").write_text(lines)
    report: dict[str, Any] = {
        "ops": {"order": ["http://127.0.0.1:1"]},
        "home": str(home),
        "findings": [],
    }
    file = tmp_path / "report.tar.gz"
    count = doctor.write(file, report)
    assert file.stat().st_mode & 0o777 == 0o600
    with tarfile.open(file) as archive:
        found = {one.name: archive.extractfile(one) for one in archive}
        texts = {name: opened.read().decode() for name, opened in found.items() if opened}
    assert len(texts) == count == 5
    assert json.loads(texts["report.json"])["findings"] == []
    log = texts["logs/order.log"]
    assert log.endswith("line 19999 of ***5678 token=***\n")
    assert len(log) < doctor.LOG_BYTES_MAX
    assert not any("13812345678" in text or "abc" in text for text in texts.values())
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []
