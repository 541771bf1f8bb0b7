"""The lines of a statement: rows of cells as a template reads them, each a value or what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timezone
from typing import IO, Final

from shoudan_finance.entries import Line
from shoudan_finance.row_errors import Wrong, wrong
from shoudan_finance.statement_files import FileWrong, rows_of
from shoudan_finance.states import EntryKind
from shoudan_finance.templates import (
    KINDS,
    OF_REFUNDS,
    OUTCOMES,
    Footer,
    Skip,
    Template,
    bytes_of,
)
from shoudan_kit.money import fen_to_micros, yuan_to_micros

NUMBER_MAX: Final = 64
TAKEN: Final = frozenset(
    {EntryKind.DELIVERY, EntryKind.FEE, EntryKind.REFUND}
)  # what costs us; the other kinds give
SIGNED: Final = frozenset({EntryKind.SETTLEMENT, EntryKind.TRANSFER})
_OPTIONAL: Final = frozenset(OF_REFUNDS.values())
_FORMULA: Final = ("=", "@", "+", "-")
_MARKS: Final = ("\ufeff", "`", "'", "=")  # what `cleaned` takes away begins so
_USUAL: Final = "%Y-%m-%d %H:%M:%S"
_IS_USUAL: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}").fullmatch


class _Cell(Exception):
    """What is wrong with a cell."""

    def __init__(self, name: str, code: str, **facts: object) -> None:
        super().__init__(f"{name}: {code}")
        self.name, self.code, self.facts = name, code, facts


@dataclass(slots=True)
class Counted:
    """What was read so far."""

    rows: int = 0
    skipped: int = 0
    credits_micros: int = 0
    debits_micros: int = 0
    ended: bool = field(default=False)  # by the footer

    def add(self, line: Line) -> None:
        """One line more."""
        self.rows += 1
        if line.amount_micros < 0:
            self.debits_micros -= line.amount_micros
        else:
            self.credits_micros += line.amount_micros


class Reading:
    """One reading of a file; what it came to is in `counted` when `lines` has ended."""

    def __init__(self, file: IO[bytes], template: Template, source: str, unpacked_max: int) -> None:
        self._template, self._source = template, source
        self._rows = rows_of(file, template, unpacked_max)
        self._places: dict[str, int] = {}
        self._ranges = dict[str, tuple[int, int]]()
        if template.format == "fixed":
            self._ranges = {name: bytes_of(place) for name, place in template.columns.items()}
        self._zone, self._forms = template.zone, template.time_formats
        self._refunds = bool(_OPTIONAL & set(template.columns))
        self.counted = Counted()

    def lines(self) -> Iterator[Line | Wrong]:
        """Every line, or what is wrong. Raises FileTooLarge."""
        try:
            self._head()
            yield from self._body()
        except FileWrong as error:
            yield error.wrong
            return
        if self._template.footer is not None and not self.counted.ended:
            yield wrong(0, "", "FOOTER_MISSING", begins=self._template.footer.begins)

    def _head(self) -> None:
        one = self._template
        for _ in range(one.rows_before):
            next(self._rows, None)
        if one.format == "fixed":
            return
        if not one.header:
            self._places = {name: int(place) - 1 for name, place in one.columns.items()}
            return
        row_no, cells = next(self._rows, (0, list[str]()))
        found = {cleaned(cell): at for at, cell in reversed(list(enumerate(cells)))}
        missing = [
            place
            for name, place in one.columns.items()
            if place not in found and name not in _OPTIONAL
        ]
        if missing:
            raise FileWrong(row_no, "COLUMNS_MISSING", columns=", ".join(missing))
        self._places = {name: found[place] for name, place in one.columns.items() if place in found}

    def _body(self) -> Iterator[Line | Wrong]:
        for row_no, cells in self._rows:
            footer = self._template.footer
            if footer is not None and cleaned(cells[0]).startswith(footer.begins):
                self.counted.ended = True
                yield from self._foot(footer, row_no, cells)
                return
            values = self._values(cells)
            if any(_skips(rule, cells, values) for rule in self._template.skip):
                self.counted.skipped += 1
                continue
            try:
                line = self._line(row_no, values)
            except _Cell as error:
                column = self._template.columns.get(error.name, "")
                yield wrong(row_no, column, error.code, **error.facts)
                continue
            self.counted.add(line)
            yield line

    def _values(self, cells: Sequence[str]) -> dict[str, str]:
        one = self._template
        if one.format == "fixed":
            line = cells[0].encode(one.encoding)
            return {
                name: cleaned(line[first:last].decode(one.encoding, "replace"))
                for name, (first, last) in self._ranges.items()
            }
        return {
            name: cleaned(cells[at]) if at < len(cells) else "" for name, at in self._places.items()
        }

    # -------------------------------------------------------- a line
    def _line(self, row_no: int, values: Mapping[str, str]) -> Line:
        one = self._template
        kind = KINDS[_word(values, "kind", one.kinds, one.kind)]
        if kind is EntryKind.REFUND and self._refunds:
            own = {name: values.get(other, "") for name, other in OF_REFUNDS.items()}
            values = {**values, **{name: value for name, value in own.items() if value}}
        numbers = {
            name: _number(name, values.get(name, ""))
            for name in ("our_no", "their_no", "settle_no", "account")
        }
        if not any(numbers.values()):
            raise _Cell("our_no", "NO_NUMBER")
        return Line(
            row_no=row_no,
            source=self._whose(values),
            kind=kind,
            face_micros=self._money("face", values.get("face") or "0"),
            amount_micros=self._signed(kind, self._money("amount", values["amount"])),
            outcome=OUTCOMES[_word(values, "outcome", one.outcomes, one.outcome)],
            happen_time=self._time(values),
            trade_no=0,
            **numbers,
        )

    def _whose(self, values: Mapping[str, str]) -> str:
        return self._template.counterparties.get(values.get("counterparty", ""), self._source)

    def _money(self, name: str, text: str) -> int:
        plain = text.removeprefix("¥").removeprefix("+").replace(",", "")
        try:
            if self._template.unit == "fen":
                return fen_to_micros(_whole(plain))
            return yuan_to_micros(_tidied(plain), signed=True)
        except ValueError:
            code = "AMOUNT_NOT_FEN" if self._template.unit == "fen" else "AMOUNT_NOT_YUAN"
            raise _Cell(name, code, text=text) from None

    def _signed(self, kind: EntryKind, micros: int) -> int:
        signs = self._template.signs
        if signs == "as_is" or (signs == "kind" and kind in SIGNED):
            return micros
        if signs == "negated":
            return -micros
        return -abs(micros) if kind in TAKEN else abs(micros)

    def _time(self, values: Mapping[str, str]) -> datetime:
        words = " ".join(values[name] for name in ("date", "time") if values.get(name))
        for form in self._forms:
            try:
                found = _moment(words, form, self._zone)
            except ValueError:
                continue
            if 2000 <= found.year <= 2100:
                return found.astimezone(UTC)
        raise _Cell("time", "TIME_WRONG", text=words)

    # -------------------------------------------------------- the footer
    def _foot(self, footer: Footer, row_no: int, cells: Sequence[str]) -> Iterator[Wrong]:
        if footer.below:
            row_no, cells = next(self._rows, (row_no, list[str]()))
        if self._template.format == "fixed":
            cells = cells[0].split() if cells else []
        counted = self.counted
        if footer.rows_cell:
            said = _at(cells, footer.rows_cell)
            if said != str(counted.rows):
                yield wrong(row_no, "", "FOOTER_ROWS", text=said, rows=counted.rows)
        if footer.amount_cell:
            said = _at(cells, footer.amount_cell)
            gross = counted.credits_micros + counted.debits_micros
            net = abs(counted.credits_micros - counted.debits_micros)
            try:
                micros = abs(self._money("amount", said))
            except _Cell:
                yield wrong(row_no, "", "FOOTER_NO_AMOUNT", text=said)
                return
            if micros != (gross if footer.gross else net):
                yield wrong(row_no, "", "FOOTER_AMOUNT", text=said)


def cleaned(cell: str) -> str:
    """A cell without what programs put around numbers so that a spreadsheet leaves them alone."""
    text = cell.strip()
    if not text.startswith(_MARKS):  # of most cells: this is done ten times a line
        return text
    text = text.lstrip("\ufeff").removeprefix("`").removeprefix("'").strip()
    if len(text) > 3 and text.startswith('="') and text.endswith('"'):
        text = text[2:-1]
    return text


def _moment(words: str, form: str, zone: timezone) -> datetime:
    """As strptime, whose way through a form costs half of a line, for the form that most files have.

    Raises ValueError.
    """
    if form == _USUAL and _IS_USUAL(words):
        return datetime.fromisoformat(words).replace(tzinfo=zone)
    return datetime.strptime(words, form).replace(tzinfo=zone)


def _number(name: str, text: str) -> str:
    if not text:
        return text
    if len(text) > NUMBER_MAX:
        raise _Cell(name, "TEXT_TOO_LONG", most=NUMBER_MAX)
    if not text.isprintable():
        raise _Cell(name, "NOT_PRINTABLE")
    if text.startswith(_FORMULA):
        raise _Cell(name, "FORMULA")
    if "e+" in text.lower() and text[:1].isdecimal():
        raise _Cell(name, "ROUNDED")
    return text


def _word(values: Mapping[str, str], name: str, known: Mapping[str, str], other: str) -> str:
    """What the code in a column means; the template's own word without a column for it."""
    if name not in values or not known:
        return other
    found = known.get(values[name])
    if found is None:
        raise _Cell(name, "CODE_UNKNOWN", text=values[name])
    return found


def _whole(text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > 16:
        raise ValueError("no whole number")
    return int(text)


def _tidied(text: str) -> str:
    """Leading zeros and a fourth zero behind the point, which programs print, say nothing."""
    sign, digits = ("-", text[1:]) if text.startswith("-") else ("", text)
    whole, point, rest = digits.partition(".")
    whole = whole.lstrip("0") or "0" if whole else whole
    if point and len(rest) > 5:
        rest = rest[:5] + rest[5:].rstrip("0")
    return f"{sign}{whole}{point}{rest}"


def _at(cells: Sequence[str], number: int) -> str:
    return cleaned(cells[number - 1]) if 0 < number <= len(cells) else ""


def _skips(rule: Skip, cells: Sequence[str], values: Mapping[str, str]) -> bool:
    if rule.begins:
        return cleaned(cells[0]).startswith(rule.begins)
    return values.get(rule.column, "") in rule.words
