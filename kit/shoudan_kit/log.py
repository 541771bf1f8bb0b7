"""Log lines: one JSON object each, fast enough for the hot path, nothing personal or secret in them."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any, BinaryIO, Final, Literal, cast

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger

Level = Literal["debug", "info", "warning", "error"]

MASK: Final = "***"
# Fields that name a secret, whatever the service; what names a person there, its settings say. Masked at
# the top level of a line only: log fields, not objects.
MASKED: Final = frozenset(
    {
        "app_key",
        "authorization",
        "database_url",
        "owner_database_url",
        "password",
        "secret",
        "sign",
        "token",
    }
)
VALUE_CHARS_MAX: Final = 2_000
TRACE_CHARS_MAX: Final = 12_000
LINE_BYTES_MAX: Final = 16_384

_OPTIONS: Final = orjson.OPT_NON_STR_KEYS
_context: ContextVar[dict[str, str] | None] = ContextVar("shoudan_log", default=None)


class _Sink:
    """Where lines go. Loggers keep this object for ever, so a later setup() can still move them."""

    def __init__(self) -> None:
        self.stream: BinaryIO | None = None
        self.service = ""
        self.replica: dict[str, str] = {}
        self.masked = MASKED
        self.lost = 0

    def write(self, line: bytes) -> None:
        """A reader that went away or a full disk must not stop orders: count and go on."""
        try:
            (self.stream or sys.stdout.buffer).write(line)
        except (OSError, ValueError):
            self.lost += 1

    def flush(self) -> None:
        try:
            (self.stream or sys.stdout.buffer).flush()
        except (OSError, ValueError):
            self.lost += 1


_sink: Final = _Sink()


# Until `setup`, and in commands for good: stdout is for what a command answers.
structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))


def setup(
    service: str,
    level: Level,
    stream: BinaryIO | None = None,
    *,
    masked: frozenset[str] = frozenset(),
    replica: str = "",
) -> None:
    """Send everything, warnings of libraries included, as JSON lines to `stream` (default stdout).

    Fields in `masked` are written as ***, as those of secrets are. `replica` names this process among those
    of its service.
    Called once at start. Loggers that have already written keep their level.
    """
    _sink.stream, _sink.service, _sink.masked = stream, service, MASKED | masked
    _sink.replica = {"replica": replica} if replica else {}
    structlog.configure(
        processors=[_render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # Loggers only ever write to and flush the file they are given.
        logger_factory=structlog.BytesLoggerFactory(cast("BinaryIO", _sink)),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [_FromLibraries()]
    root.setLevel(logging.WARNING)


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger: `log.info("order_created", order_id=…)`; the event is a fixed word, facts are fields."""
    return structlog.get_logger(source=name)


def lost_lines() -> int:
    """How many writes failed because the reader was gone or the disk was full."""
    return _sink.lost


def bind(**fields: str) -> Token[dict[str, str] | None]:
    """Add fields to every line of the current task and its children, until `unbind`."""
    return _context.set({**(_context.get() or {}), **fields})


def unbind(token: Token[dict[str, str] | None]) -> None:
    """Undo one `bind`."""
    _context.reset(token)


@contextmanager
def bound(**fields: str) -> Generator[None]:
    """`bind` for the length of a block."""
    token = bind(**fields)
    try:
        yield
    finally:
        unbind(token)


def context(name: str) -> str | None:
    """A field bound to the current task, such as its request_id."""
    fields = _context.get()
    return fields.get(name) if fields else None


def _render(_: object, method: str, event: EventDict) -> bytes:
    """The only processor: each further one would cost a call per line."""
    if not _sink.masked.isdisjoint(event):
        for name in _sink.masked.intersection(event):
            event[name] = MASK
    if event.get("exc_info"):
        structlog.processors.format_exc_info(_, method, event)
    fields = _context.get()
    line: dict[str, Any] = {"ts": time.time(), "level": method, "service": _sink.service}
    line |= _sink.replica
    if fields:
        line |= fields
    line |= event
    return _encoded(line)


def _encoded(line: dict[str, Any]) -> bytes:
    try:
        made = orjson.dumps(line, _shown, _OPTIONS)
        if len(made) <= LINE_BYTES_MAX:
            return made
        return orjson.dumps({name: _cut(name, value) for name, value in line.items()}, _shown)
    except TypeError:  # ints beyond 64 bits, lone surrogates: rare, and a log line never raises
        plain = {ascii(name)[1:-1]: ascii(value)[:VALUE_CHARS_MAX] for name, value in line.items()}
        return orjson.dumps(plain)


def _cut(name: str, value: object) -> object:
    """What a caller may write as long as it likes must not fill the disk; a traceback keeps its end."""
    if name == "exception" and isinstance(value, str):
        return value[-TRACE_CHARS_MAX:]
    if isinstance(value, str):
        return value[:VALUE_CHARS_MAX]
    return value if isinstance(value, int | float | None) else _shown(value)


def _shown(value: object) -> str:
    """Text for what JSON has no form for; a broken __str__ must not break the caller either."""
    try:
        return str(value)[:VALUE_CHARS_MAX]
    except Exception as error:  # noqa: BLE001 - any class may be logged
        return f"<{type(value).__name__} whose text raised {type(error).__name__}>"


class _FromLibraries(logging.Handler):
    """Brings warnings and errors of libraries that use stdlib logging into the same stream."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; a malformed record is written as it came."""
        try:
            text = record.getMessage()
        except (TypeError, ValueError, KeyError):
            text = str(record.msg)
        event: EventDict = {"source": record.name, "event": text}
        if record.exc_info:
            event["exc_info"] = record.exc_info
        _sink.write(_render(None, record.levelname.lower(), event) + b"\n")
        _sink.flush()
