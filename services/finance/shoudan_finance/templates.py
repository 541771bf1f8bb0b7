"""How a statement's file is read: templates, as operators configure them in a TOML file."""

from __future__ import annotations

import codecs
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import timedelta, timezone
from pathlib import Path
from typing import Final, Literal

import msgspec

from shoudan_finance.states import Book, EntryKind, Outcome

TEMPLATES_MAX: Final = 1000
PLACES_MAX: Final = 100
FILE_MAX: Final = 2**20
OWN: Final = Path(__file__).with_name("templates.toml")
KINDS: Final[Mapping[str, EntryKind]] = {one.name.lower(): one for one in EntryKind}
OUTCOMES: Final[Mapping[str, Outcome]] = {one.name.lower(): one for one in Outcome}
BOOKS: Final[Mapping[str, Book]] = {"theirs": Book.THEIRS, "bank": Book.BANK}
FIELDS: Final = (
    "our_no",
    "their_no",
    "settle_no",
    "account",
    "face",
    "amount",
    "time",
    "date",
    "kind",
    "outcome",
    "counterparty",
    "refund_our_no",
    "refund_their_no",
    "refund_amount",
)
# What rows of refunds have beside the numbers and the amount of their pay; a file may be without.
OF_REFUNDS: Final[Mapping[str, str]] = {
    "our_no": "refund_our_no",
    "their_no": "refund_their_no",
    "amount": "refund_amount",
}
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_ZONE: Final = re.compile(r"([+-])([01][0-9]):([0-5][0-9])")
_RANGE: Final = re.compile(r"([1-9][0-9]{0,3})-([1-9][0-9]{0,3})")


class TemplateWrong(ValueError):
    """A template that cannot be used: its name and what is wrong."""


class Skip(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows that say nothing: whose column is one of these words, or which begin so."""

    column: str = ""
    words: tuple[str, ...] = ()
    begins: str = ""


class Footer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The row that ends the lines and says what they come to; cells are counted from 1, 0 is not said.

    A file without its footer is half a file.
    """

    begins: str
    rows_cell: int = 0
    amount_cell: int = 0
    below: bool = False  # the numbers stand in the row below
    gross: bool = False  # the amounts added without their signs


class Template(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way to read a file."""

    name: str
    columns: dict[str, str]  # field: header, number from 1 without a header, or range of bytes
    title: str = ""
    source: str = ""
    book: Literal["theirs", "bank"] = "theirs"
    format: Literal["csv", "xlsx", "fixed"] = "csv"
    encoding: str = "utf-8-sig"
    delimiter: str = ","
    sheet: str = ""
    rows_before: int = 0
    header: bool = True
    unit: Literal["yuan", "fen"] = "yuan"
    # kind: amounts have no sign, the kind says it; as_is: above zero is ours; negated: the other way.
    signs: Literal["kind", "as_is", "negated"] = "kind"
    kinds: dict[str, str] = {}
    kind: str = "delivery"
    outcomes: dict[str, str] = {}
    outcome: str = "success"
    time_formats: tuple[str, ...] = ("%Y-%m-%d %H:%M:%S", "%Y/%m/%d %H:%M:%S", "%Y%m%d%H%M%S")
    time_zone: str = "+08:00"
    skip: tuple[Skip, ...] = ()
    footer: Footer | None = None
    counterparties: dict[str, str] = {}  # name in the bank's file: source
    # Matching.
    due_days: int = 1  # days until a counterpart must have come
    tolerance_micros: int = 0
    window_s: int = 600  # between the times of two entries of the same account and face

    @property
    def zone(self) -> timezone:
        """The offset of its times: statements of places with summer time are not read."""
        found = _ZONE.fullmatch(self.time_zone)
        assert found is not None, "checked when it was loaded"
        side, hours, minutes = found.groups()
        apart = timedelta(hours=int(hours), minutes=int(minutes))
        return timezone(-apart if side == "-" else apart)

    def json(self) -> str:
        """All of it."""
        return msgspec.json.encode(self).decode()


class Watched(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where statements are put: a folder of this machine, or one that is reached by SFTP."""

    template: str
    source: str = ""
    pattern: str = "*"
    folder: str = ""
    host: str = ""
    port: int = 22
    user: str = ""
    key: str = ""  # file of the private key
    known_hosts: str = ""  # file of the keys that hosts have; no other host is spoken to

    @property
    def name(self) -> str:
        """What it is called in the log."""
        return (
            f"sftp://{self.user}@{self.host}:{self.port}{self.folder}" if self.host else self.folder
        )


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    template: tuple[Template, ...] = ()
    place: tuple[Watched, ...] = ()


def load(configured: str) -> dict[str, Template]:
    """Our own templates and those of the file that is configured, by name. Raises TemplateWrong."""
    found = _read(OWN)
    if configured:
        found |= _read(Path(configured))
    if len(found) > TEMPLATES_MAX:
        raise TemplateWrong(f"more than {TEMPLATES_MAX} templates")
    return dict(sorted(found.items()))


def places(configured: str, templates: Mapping[str, Template]) -> tuple[Watched, ...]:
    """Where statements are fetched, as the same file says. Raises TemplateWrong."""
    if not configured:
        return ()
    found = _parsed(Path(configured)).place
    for one in found:
        for why in _mistakes_of(one, templates):
            raise TemplateWrong(f"place {one.name!r}: {why}")
    if len(found) > PLACES_MAX:
        raise TemplateWrong(f"more than {PLACES_MAX} places")
    return found


def _mistakes_of(one: Watched, templates: Mapping[str, Template]) -> Iterator[str]:
    if one.template not in templates:
        yield f"there is no template {one.template!r}"
    elif not (one.source or templates[one.template].source):
        yield "source is missing, and its template names none"
    if not one.folder.startswith("/"):
        yield "folder begins with /"
    if one.host and not (one.user and one.key and one.known_hosts):
        yield "a host needs user, key and known_hosts"


def _parsed(path: Path) -> _File:
    try:
        if path.stat().st_size > FILE_MAX:
            raise TemplateWrong(f"{path.name} has more than {FILE_MAX} bytes")
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), _File)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise TemplateWrong(f"{path.name}: {error}") from None


def _read(path: Path) -> dict[str, Template]:
    found: dict[str, Template] = {}
    for one in _parsed(path).template:
        for why in _mistakes(one):
            raise TemplateWrong(f"{path.name}: template {one.name!r}: {why}")
        if one.name in found:
            raise TemplateWrong(f"{path.name}: template {one.name!r} stands there twice")
        found[one.name] = one
    return found


def _mistakes(one: Template) -> Iterator[str]:
    if _NAME.fullmatch(one.name) is None:
        yield "a name has a-z, 0-9 and -, at most 32"
    if unknown := set(one.columns) - set(FIELDS):
        yield f"columns are of {', '.join(FIELDS)}, not {', '.join(sorted(unknown))}"
    if "amount" not in one.columns or not {"time", "date"} & set(one.columns):
        yield "columns need amount, and time or date"
    if _ZONE.fullmatch(one.time_zone) is None:
        yield "time_zone has the form +08:00"
    for word, known in (("kind", KINDS), ("outcome", OUTCOMES)):
        values = {getattr(one, word), *getattr(one, f"{word}s").values()}
        if unknown := values - set(known):
            yield f"{word} is of {', '.join(known)}, not {', '.join(sorted(unknown))}"
    yield from _bounds(one)
    yield from _form(one)


def _bounds(one: Template) -> Iterator[str]:
    for name, most in (
        ("rows_before", 100),
        ("due_days", 366),
        ("tolerance_micros", 1_000_000),
        ("window_s", 86_400),
    ):
        if not 0 <= getattr(one, name) <= most:
            yield f"{name} is 0 to {most}"
    if len(one.source) > 32 or any(len(name) > 32 for name in one.counterparties.values()):
        yield "a source has at most 32 characters"


def _form(one: Template) -> Iterator[str]:
    try:
        codecs.lookup(one.encoding)
        "".encode(one.encoding)
    except LookupError:
        yield f"{one.encoding} is no character set"
    if len(one.delimiter) != 1:
        yield "delimiter is one character"
    for rule in one.skip:
        if not rule.begins and not (rule.column in one.columns and rule.words):
            yield "a skip has begins, or words and a column of columns"
    if one.format == "fixed":
        if any(_RANGE.fullmatch(place) is None for place in one.columns.values()):
            yield "columns of fixed are ranges of bytes such as 1-20"
    elif not one.header and not all(
        place.isascii() and place.isdecimal() and int(place) for place in one.columns.values()
    ):
        yield "columns without a header are numbers from 1"


def bytes_of(place: str) -> tuple[int, int]:
    """Where the bytes of a column of fixed width begin and end."""
    first, _, last = place.partition("-")
    return int(first) - 1, int(last)
