"""The points that a sweep looks for are those that the services name."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.sweep import named


def test_points_are_found_where_they_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "services" / "order"
    folder.mkdir(parents=True)
    text = 'async with app.work("order.some") as work:\n    hit("delivery.before_some")\n    hit(name)\n'
    (folder / "some.py").write_text(text, "utf-8")
    found = named(tmp_path)
    assert found == {
        "order.some.before_commit",
        "order.some.after_commit",
        "delivery.before_some",
    }


def test_the_steps_of_an_order_are_among_those_of_the_services() -> None:
    steps = {"order.pay", "order.results", "order.cancel", "refund.create"}
    points = {"delivery.before_call", "delivery.after_call", "stock.reserved", "payserver.called"}
    assert named() >= points | {f"{step}.before_commit" for step in steps}
