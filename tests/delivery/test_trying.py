"""`shoudan channel try`: what a template would send, how it reads what was recorded; no call, no secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from shoudan_delivery.commands import app
from tests.delivery.protocols.speakers import EXAMPLES, SPEAKERS, Said, Speaker

CALLS = ("order", "query", "notify", "balance", "price")
RUNNER = CliRunner()


def tried(name: str, *more: str) -> tuple[int, str]:
    done = RUNNER.invoke(app, ["try", str(EXAMPLES / name), "--order-no", "7", *more])
    return done.exit_code, done.output


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.iterdir()))
def test_every_call_of_every_example_is_shown(name: str) -> None:
    for call in CALLS:
        code, shown = tried(name, "--call", call)
        assert code == 0, shown
        assert "PRIVATE KEY" not in shown
        assert "wx01" not in shown  # of ext_params only names
        assert "10086" not in shown
    assert "7" in tried(name)[1]


@pytest.mark.parametrize(
    ("name", "speaker"),
    list(zip(("md5-form-gbk.yaml", "hmac-json.yaml", "rsa-xml.yaml"), SPEAKERS[1:], strict=True)),
)
def test_a_recorded_answer_is_read_as_in_earnest(
    name: str, speaker: Speaker, tmp_path: Path
) -> None:
    recorded = tmp_path / "answer"
    for how, words in (("success", "succeeded"), ("failed", "failed"), ("unlisted", "unknown")):
        cards = [{"number": "C1", "password": "secret1"}] if "json" in name else []
        recorded.write_bytes(speaker.answer(Said(how=how, cards=cards)))
        code, shown = tried(name, "--recorded", str(recorded))
        assert code == 0
        assert f"outcome: {words}" in shown
        assert "secret1" not in shown
    recorded.write_bytes(speaker.nothing)
    assert "outcome: unknown" in tried(name, "--recorded", str(recorded))[1]
    recorded.write_bytes(speaker.notify(Said(), speaker.wrong_secret).body)
    said = tried(name, "--recorded", str(recorded), "--call", "notify")[1]
    assert "code: " in said  # what it says; who signed it is not looked at here


def test_balances_and_prices_of_recorded_answers(tmp_path: Path) -> None:
    recorded = tmp_path / "answer"
    recorded.write_text("<r><result>0</result><balance>12.5</balance></r>")
    shown = tried("md5-form-gbk.yaml", "--recorded", str(recorded), "--call", "balance")[1]
    assert "balance: 12.5 yuan" in shown
    recorded.write_text('{"data": {"goods": [{"sku": "P1", "price": 995, "stock": 3}]}}')
    shown = tried("hmac-json.yaml", "--recorded", str(recorded), "--call", "price")[1]
    assert "product P1: 9.95 yuan, stock 3" in shown
    recorded.write_text("{}")
    for name, call in (("md5-form-gbk.yaml", "balance"), ("md5-form-gbk.yaml", "price")):
        assert "unreadable: " in tried(name, "--recorded", str(recorded), "--call", call)[1]


def test_mistakes_are_said_and_end_with_2(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    for text, words in (
        ("suppliers: [", "cannot be tried"),
        ("suppliers: []", "0 such channels"),
        ("suppliers: [{channel_no: a}]", "missing required field"),
        ("[]", "Expected `object`"),
    ):
        file.write_text(text)
        done = RUNNER.invoke(app, ["try", str(file)])
        assert done.exit_code == 2
        assert words in done.output
    file.write_text((EXAMPLES / "rsa-xml.yaml").read_text().replace("code: code", "code: 'a||b'"))
    done = RUNNER.invoke(app, ["try", str(file)])
    assert (done.exit_code, "order.read.code0: more than a path" in done.output) == (2, True)
    assert RUNNER.invoke(app, ["try", str(file), "--call", "refund"]).exit_code == 2
    assert RUNNER.invoke(app, ["try", str(tmp_path / "none.yaml")]).exit_code == 2
