"""The row that a table's own defaults make."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Table

from tests.simulation.store import Values, View

_MOMENT: Final = "shoudan_now()"


def blank(table: Table) -> Values:
    """Every column with its default; moments that are not known here are None."""
    return {column.name: _default(column.server_default) for column in table.columns}


def born(view: View, empty: Values, moments: tuple[str, ...]) -> Values:
    """A new row: the defaults, and now where the default is now."""
    return {**empty, **dict.fromkeys(moments, view.moment)}


def moments(table: Table) -> tuple[str, ...]:
    """The columns whose default is now."""
    return tuple(
        column.name
        for column in table.columns
        if column.server_default is not None and _text(column.server_default) == _MOMENT
    )


def _text(default: Any) -> str:
    return str(getattr(default.arg, "text", default.arg))


def _default(default: Any) -> Any:
    if default is None:
        return None
    text = _text(default)
    if text == _MOMENT:
        return None
    if text in {"true", "false"}:
        return text == "true"
    if text.startswith("'"):
        return text.strip("'")
    try:
        return int(text)
    except ValueError:
        return text
