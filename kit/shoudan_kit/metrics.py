"""Metrics: names begin with shoudan_, labels have few values, and counting costs about a microsecond."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, Generic, TypeVar, cast

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.metrics_core import Metric

PREFIX: Final = "shoudan_"
CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
SECONDS_BUCKETS: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    30,
)
SIZE_BUCKETS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
# A label value made from input would grow for ever; beyond this everything counts as "other".
CHILDREN_MAX: Final = 1_000

REGISTRY: Final = CollectorRegistry()
for _collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
    REGISTRY.register(_collector)

Join = Callable[[Iterable[float]], float]
_CELL: Final = ContextVar("shoudan_cell", default=0)

M = TypeVar("M", Counter, Gauge, Histogram)


class Family(Generic[M]):
    """One metric and its children by label values, found by one dict look-up."""

    def __init__(self, metric: M, labels: Sequence[str]) -> None:
        self._metric = metric
        self._labels = tuple(labels)
        self._children: dict[tuple[str, ...], M] = {}

    def __call__(self, *values: str) -> M:
        """The child of these label values, in the order declared."""
        child = self._children.get(values)
        return self._new(values) if child is None else child

    @property
    def labels(self) -> tuple[str, ...]:
        """Their names, in the order declared."""
        return self._labels

    @property
    def about(self) -> Metric:
        """Name, kind and meaning."""
        (about,) = self._metric.describe()
        return about

    def __str__(self) -> str:
        """Name, kind and labels: what dashboards and alerts rely on."""
        return f"{self.about.name}: {' '.join([self.about.type, *self._labels])}"

    def _new(self, values: tuple[str, ...]) -> M:
        if len(self._children) >= CHILDREN_MAX:
            values = ("other",) * len(self._labels)
        child = self._metric.labels(*values) if self._labels else self._metric
        self._children[values] = child
        return child


def counter(name: str, help_text: str, labels: Sequence[str] = ()) -> Family[Counter]:
    """A count that only rises; `name` without prefix, ending in _total."""
    return Family(Counter(PREFIX + name, help_text, labels, registry=REGISTRY), labels)


def gauge(name: str, help_text: str, labels: Sequence[str] = ()) -> Family[Gauge]:
    """A value that goes up and down; `name` without prefix."""
    return Family(Gauge(PREFIX + name, help_text, labels, registry=REGISTRY), labels)


@contextmanager
def cell(shard: int) -> Generator[None]:
    """What is measured inside, and by tasks begun inside, is of this shard of the process."""
    token = _CELL.set(shard)
    try:
        yield
    finally:
        _CELL.reset(token)


class _OfCells:
    """A gauge that each shard of a process sets: it shows what `join` makes of them."""

    def __init__(self, gauge: Gauge, join: Join) -> None:
        self._gauge, self._join = gauge, join
        self._values: dict[int, float] = {}

    def set(self, value: float) -> None:
        """The value of the shard at work."""
        self._values[_CELL.get()] = value
        self._gauge.set(self._join(self._values.values()))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gauge, name)


class _CellFamily(Family[Gauge]):
    """A metric whose children are set by shards."""

    join: Join = max

    def _new(self, values: tuple[str, ...]) -> Gauge:
        made = cast("Gauge", _OfCells(super()._new(values), type(self).join))
        self._children[values] = made
        return made


class _SumFamily(_CellFamily):
    join = sum


class _LeastFamily(_CellFamily):
    join = min


def least(name: str, help_text: str, labels: Sequence[str] = ()) -> Family[Gauge]:
    """A gauge of one database, such as when something was done last; of several shards the least is shown."""
    return _LeastFamily(Gauge(PREFIX + name, help_text, labels, registry=REGISTRY), labels)


def worst(name: str, help_text: str, labels: Sequence[str] = ()) -> Family[Gauge]:
    """A gauge of one database; of several shards the greatest value is shown."""
    return _CellFamily(Gauge(PREFIX + name, help_text, labels, registry=REGISTRY), labels)


def total(name: str, help_text: str, labels: Sequence[str] = ()) -> Family[Gauge]:
    """A gauge of one database; of several shards the sum is shown."""
    return _SumFamily(Gauge(PREFIX + name, help_text, labels, registry=REGISTRY), labels)


def histogram(
    name: str,
    help_text: str,
    labels: Sequence[str] = (),
    buckets: Sequence[float] = SECONDS_BUCKETS,
) -> Family[Histogram]:
    """A distribution; `name` without prefix, unit last (`…_seconds`)."""
    metric = Histogram(PREFIX + name, help_text, labels, buckets=buckets, registry=REGISTRY)
    return Family(metric, labels)


RPC_SERVER_SECONDS: Final = histogram(
    "rpc_server_seconds", "Time to answer a gRPC call.", ("method", "code")
)
RPC_IN_PROGRESS: Final = gauge("rpc_in_progress", "gRPC calls being answered now.")
HTTP_SECONDS: Final = histogram(
    "http_seconds", "Time to answer an HTTP request; route is the template.", ("route", "code")
)
HTTP_CLIENT_SECONDS: Final = histogram(
    "http_client_seconds", "Time of an HTTP request to the outside.", ("client", "result")
)
TASK_SECONDS: Final = histogram(
    "task_seconds", "Time of one handler run over a batch of tasks.", ("kind", "result")
)
TASKS_TOTAL: Final = counter("tasks_total", "Tasks handled.", ("kind", "result"))
TASKS_DUE_AGE_SECONDS: Final = worst(
    "tasks_due_age_seconds", "Age of the longest due task; 0 when none is due.", ("kind",)
)
HOSTS_RESTING: Final = gauge(
    "hosts_resting", "Hosts that do not answer and are called ever more rarely.", ("calls",)
)
TASKS_DEAD: Final = total("tasks_dead", "Tasks past their deadline or count.", ("kind",))
OUTBOX_LAG_SECONDS: Final = worst(
    "outbox_lag_seconds", "Age of the oldest event not yet published; 0 when all are."
)
EVENTS_PUBLISHED_TOTAL: Final = counter("events_published_total", "Events published.", ("subject",))
BATCH_SIZE: Final = histogram(
    "batch_size", "Calls gathered into one batch.", ("name",), SIZE_BUCKETS
)
BATCH_SECONDS: Final = histogram("batch_seconds", "Time to run one batch.", ("name",))
BATCH_REFUSED_TOTAL: Final = counter(
    "batch_refused_total", "Calls refused because too many waited.", ("name",)
)
HTTP_CONNECTIONS_REFUSED: Final = counter(
    "http_connections_refused_total", "Connections closed at once, beyond the gateway's bounds."
)
GATEWAYS_SHARING: Final = gauge(
    "gateways_sharing", "Gateways that share callers' limits; 0 while this one cannot tell."
)
REPLICAS_SHARING: Final = gauge(
    "replicas_sharing",
    "Processes of this service that share the limits of its calls; 0 while this one cannot tell.",
)
BACKEND_UP: Final = gauge(
    "backend_up", "1 while a service behind the gateway serves.", ("backend",)
)
NOTIFIES_TAKEN: Final = counter(
    "notifies_taken_total", "Suppliers' notifies: accepted, refused, limited.", ("outcome",)
)
SPANS_TOTAL: Final = counter(
    "spans_total",
    "Spans of sampled requests: exported, or lost to a collector that is away.",
    ("outcome",),
)
BREAKER_STATE: Final = gauge("breaker_state", "0 closed, 1 open, 2 trying again.", ("channel",))
BUILD_INFO: Final = gauge(
    "build_info", "Always 1; the labels say what runs.", ("service", "version")
)


def rpc_done(method: str, code: str, seconds: float) -> None:
    """Count one answered call."""
    RPC_SERVER_SECONDS(method, code).observe(seconds)


def http_done(route: str, code: int, seconds: float) -> None:
    """Count one answered request; `route` is the template, never the path."""
    HTTP_SECONDS(route, str(code)).observe(seconds)


def task_done(kind: str, result: str, tasks: int, seconds: float) -> None:
    """Count one handler run."""
    TASKS_TOTAL(kind, result).inc(tasks)
    TASK_SECONDS(kind, result).observe(seconds)


def batch_done(name: str, size: int, seconds: float) -> None:
    """Count one batch."""
    BATCH_SIZE(name).observe(size)
    BATCH_SECONDS(name).observe(seconds)


PROCESS_LABELS: Final[dict[str, str]] = {}


def name_process(service: str, replica: str) -> None:
    """The labels of every metric of this process, where it serves them."""
    PROCESS_LABELS.update(service=service, replica=replica)


class _Labelled:
    """The registry with the labels of this process on each sample; added when served, not when counted."""

    def collect(self) -> Iterator[Metric]:
        """The library's interface."""
        for metric in REGISTRY.collect():
            labelled = Metric(metric.name, metric.documentation, metric.type, metric.unit)
            labelled.samples = [
                one._replace(labels={**PROCESS_LABELS, **one.labels}) for one in metric.samples
            ]
            yield labelled


def exposition() -> bytes:
    """Everything counted, in the text format Prometheus reads."""
    return generate_latest(cast("Any", _Labelled()) if PROCESS_LABELS else REGISTRY)
