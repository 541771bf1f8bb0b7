"""The configuration file: read strictly, mistakes named by path, amounts and rates exact."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoudan_cli.system import demo_catalogue
from shoudan_configuration.document import DocumentError, load, parse
from shoudan_configuration.messages import catalogue_of, suppliers_of

SANDBOX = {"SHOUDAN_SANDBOX_URL": "http://127.0.0.1:1"}


def mistakes(text: str) -> list[str]:
    with pytest.raises(DocumentError) as raised:
        parse(text, "x.yaml", {})
    return raised.value.mistakes


def test_the_demonstration_sells_the_documents_example() -> None:
    catalogue = catalogue_of(load(demo_catalogue(), SANDBOX))
    sold = next(one for one in catalogue.down_products if one.product_id == 300)
    assert (sold.carrier_no, sold.province_no, sold.face_micros) == ("ZSH", "*", 200_000_000)
    assert (sold.sell_discount_ppm, sold.limit_count, sold.can_refund) == (990_000, 10, True)


def test_the_demonstration_opens_the_account_of_the_documents_example() -> None:
    document = load(demo_catalogue(), SANDBOX)
    account = next(one for one in document.accounts if one.eid == "test")
    assert (account.ident, account.groups) == ("oms", "down_channel")
    assert account.opening_yuan == 9_999_999 * 10_000  # 分 in the document


def test_a_supplier_waits_for_as_long_as_the_service_takes() -> None:
    def waits(seconds: str) -> str:
        given = "channel_no: a, service_class: 10, request_url: 'http://127.0.0.1:1'"
        return f"suppliers: [{{{given}, timeout_s: {seconds}}}]"

    for text, seconds in (("0.05", 0.05), ("0.5", 0.5), ("10", 10), ("300", 300)):
        (one,) = suppliers_of(parse(waits(text), "x.yaml", {}))
        assert one.timeout_s == seconds
    for text in ("0.04", "300.1", "true", "nan", "soon"):
        (mistake,) = mistakes(waits(text))
        assert mistake.startswith("suppliers[0].timeout_s: ")


def test_variables_are_filled_in() -> None:
    suppliers = suppliers_of(load(demo_catalogue(), SANDBOX))
    assert {one.request_url for one in suppliers} == {"http://127.0.0.1:1/supplier/request"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lines: [{line_id: x, line_name: a}]", "lines[0].line_id: "),
        ("lines: [{line_id: 1, line_name: a, speed: 1}]", "lines[0].speed: "),
        ("lines: [{line_id: 1}]", "lines[0].line_name: "),
        ("lines: [{line_id: true, line_name: a}]", "lines[0].line_id: "),
        ("accounts: [{groups: g, eid: e, opening_yuan: 1.000001}]", "accounts[0].opening_yuan: "),
        ("accounts: [{groups: g, eid: e, opening_yuan: -1}]", "accounts[0].opening_yuan: "),
        ("accounts: [{groups: g, eid: '${NOBODY}'}]", "accounts[0].eid: the variable NOBODY"),
        ("suppliers: [{channel_no: a, service_class: 11, request_url: b}]", "suppliers[0].serv"),
        ("lines: [{line_id: 1, line_name: a}, {line_id: 1, line_name: b}]", "lines.line_id: 1 st"),
        ("lines: 1\nlines: 2", "is not YAML: the key lines stands twice"),
        ("pay_mode_templates: [{name: a}]", "pay_mode_templates[0].template_id: "),
        (
            "pay_mode_templates: [{template_id: T, name: a, payUrl: b}]",
            "pay_mode_templates[0].payUrl",
        ),
        ("packages: [{ident: a, eid: b, spkg_id: c, total_capacity: -1}]", "packages[0].total_cap"),
        ("lines: [", "is not YAML: "),
        (f"lines: {'9' * 5_000}", "is not YAML: "),
        ("a: " + "[" * 5_000, "is not YAML: "),
        (
            "down_channels: [{channel_no: a, channel_name: b, status: 2}]",
            "down_channels[0].enabled",
        ),
        (
            "down_channels: [{channel_no: a, channel_name: b, status: 0, enabled: true}]",
            "down_channels[0]: enabled and enabled are the same",
        ),
        ("accounts: [{groups: g, eid: e, balance: 1.5}]", "accounts[0]: is not a whole amount"),
        ("- 1", "the file: "),
        ("a: !!python/object/apply:os.system [ls]", "is not YAML: "),
    ],
)
def test_a_mistake_is_named_by_its_path(text: str, expected: str) -> None:
    assert any(one.startswith(expected) for one in mistakes(text))


def test_all_mistakes_are_told_together() -> None:
    assert len(mistakes("lines: [{line_id: x, speed: 1}]")) == 3


def test_an_unreadable_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="cannot be read"):
        load(tmp_path / "nothing.yaml")


def test_an_empty_file_changes_nothing() -> None:
    assert not parse("", "x.yaml", {}).lines


def test_a_toggle_is_0_for_yes_as_documented_or_true() -> None:
    product = (
        "{product_id: 1, line_id: 1, carrier_no: a, face: 1, sell_discount: 1, can_refund: %s}"
    )
    shelf = "{shelf_id: 1, shelf_name: c, products: [%s]}"
    text = f"down_channels: [{{channel_no: a, channel_name: b, shelves: [{shelf}]}}]"
    for written, meant in (("0", True), ("1", False), ("true", True), ("false", False)):
        document = parse(text % (product % written), "x.yaml", {})
        assert document.down_channels[0].shelves[0].products[0].can_refund is meant


def test_a_channel_signs_with_version_2_unless_the_file_says_otherwise() -> None:
    def mode(more: str) -> str:
        text = f"down_channels: [{{channel_no: a, channel_name: b{more}}}]"
        return parse(text, "x.yaml", {}).down_channels[0].auth_mode

    assert mode("") == "hmac2"
    assert mode(", auth_mode: none, allowed_networks: [10.0.0.0/8]") == ""
    assert mode(", auth_mode: md5") == "md5"
    assert mistakes("down_channels: [{channel_no: a, channel_name: b, auth_mode: hmac3}]")
