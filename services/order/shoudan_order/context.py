"""What the rules of this service work with: settings, catalogue, orders in memory, the other services."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.credentials.book import Credentials
from shoudan_kit.http.client import HttpClient
from shoudan_kit.limits.bulkhead import Party
from shoudan_kit.secrets import named_secret
from shoudan_kit.secrets.sealing import SealedColumn
from shoudan_kit.service import App
from shoudan_kit.tasks.covers import Cover
from shoudan_kit.tasks.kinds import Kind, Task
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_order import kinds
from shoudan_order.catalogue.goods import GoodsIndex, index_of
from shoudan_order.catalogue.index import Catalogue
from shoudan_order.catalogue.model import DownChannel, NotifyEndpoint
from shoudan_order.catalogue.routing import FactTable
from shoudan_order.catalogue.segments import NO_SEGMENTS, Segments
from shoudan_order.config import OrderSettings
from shoudan_order.credential_kinds import CHANNEL, ENDPOINT, NOTIFY
from shoudan_order.delivery_client import DeliveryClient
from shoudan_order.order_cache import OrdersInMemory
from shoudan_order.pay_client import PayClient
from shoudan_order.store import orders as store
from shoudan_order.store.endpoints import Owed
from shoudan_order.store.risk import Entry, Rule
from shoudan_order.store.routes import Facts
from shoudan_order.store.rows import Delivery, NotifyRow, Order
from shoudan_order.tables import QUEUES


class PartnerCall(Protocol):
    """One call to a partner, made within the limits of its channel and host."""

    @property
    def task(self) -> Task[Any]:
        """The task it is made for."""
        ...

    @property
    def party(self) -> Party:
        """Whose calls it counts among: its channel's to its host."""
        ...

    async def send(self) -> bool | None:
        """Make it; whether the host answered, None when it was not called."""
        ...

    async def record(self) -> None:
        """Store what came of it."""
        ...

    async def skip(self) -> None:
        """Give it up without making it: its host is off."""
        ...


class NotifyCalls(Protocol):
    """Who calls partners: notifies.Notifier, which works with this context."""

    def begin(
        self, task: Task[kinds.NotifyStep], row: NotifyRow, parts: Sequence[int] = ()
    ) -> None:
        """Start one call; never waits. `parts`: the deliveries whose cards go along."""
        ...

    def begin_call(self, call: PartnerCall) -> None:
        """Start a call, queue it for its host, or give its task back; never waits."""
        ...

    def through(self, channel: DownChannel) -> HttpClient:
        """The HTTP client for a channel: public addresses, and the networks opened for it."""
        ...


class EndpointCalls(Protocol):
    """Who calls endpoints: endpoint_notices.EndpointNotices, which works with this context."""

    def begin(
        self,
        task: Task[kinds.EndpointStep],
        owed: Owed,
        endpoint: NotifyEndpoint,
        channel: DownChannel,
    ) -> None:
        """Start one call; never waits."""
        ...


@dataclass(frozen=True, slots=True)
class Purchase:
    """A delivery whose supplier has been paid in the ledger, and the task of it."""

    task: Task[kinds.DeliveryStep]
    part: Delivery
    order: Order

    @property
    def order_id(self) -> int:
        """The order it is part of."""
        return self.part.order_id


class EndCalls(Protocol):
    """Who records how orders ended: endings.Endings, which works with this context."""

    async def bought(
        self, purchases: Sequence[Purchase], over: Sequence[Task[kinds.DeliveryStep]]
    ) -> None:
        """Record purchases; `over`: tasks that end without one."""
        ...


S = TypeVar("S", kinds.ShelfStep, kinds.GoodsStep)


class ShelfCalls(Protocol[S]):
    """Who notifies channels of their shelves: shelf_notices.ShelfNotices, which works with this context."""

    def begin(self, task: Task[S]) -> None:
        """Start one call; never waits."""
        ...


@dataclass(frozen=True, slots=True)
class Risk:
    """The risk rules in force at one version, and whether any account is listed. `entries`: the list itself,
    where the database of an order does not hold it."""

    version: int = 0
    rules: tuple[Rule, ...] = ()
    listed: bool = False
    entries: Mapping[bytes, Sequence[Entry]] | None = None


@dataclass
class Known:
    """What a process knows of what a system has once, by version."""

    catalogue: Catalogue = field(default_factory=Catalogue)
    loaded: bool = False
    risk: Risk = field(default_factory=Risk)
    segments: Segments = NO_SEGMENTS
    goods: GoodsIndex = field(default_factory=GoodsIndex)


@dataclass
class Context:
    """One process's order service."""

    app: App[OrderSettings]
    pay_client: PayClient
    delivery_client: DeliveryClient
    memory: OrdersInMemory
    accounts: SealedColumn
    credentials: Credentials
    known: Known
    route_facts: FactTable = field(default_factory=dict[tuple[int, str], Facts])
    decide_first_until_s: float = 0  # monotonic; behind what a risk rule refused
    notifier: NotifyCalls = field(init=False)
    endings: EndCalls = field(init=False)
    shelf_notices: ShelfCalls[kinds.ShelfStep] = field(init=False)
    goods_changes: ShelfCalls[kinds.GoodsStep] = field(init=False)
    endpoint_notices: EndpointCalls = field(init=False)

    @property
    def catalogue(self) -> Catalogue:
        """The catalogue as last seen."""
        return self.known.catalogue

    @property
    def risk(self) -> Risk:
        """The risk rules as last seen."""
        return self.known.risk

    @property
    def segments(self) -> Segments:
        """The number segments as last seen."""
        return self.known.segments

    @property
    def goods(self) -> GoodsIndex:
        """The catalogue as goods, made when it is first asked for at each version."""
        if self.known.goods.catalogue is not self.known.catalogue:
            self.known.goods = index_of(self.known.catalogue)
        return self.known.goods

    @property
    def settings(self) -> OrderSettings:
        """The settings of this process."""
        return self.app.settings

    def notify_secrets(self, channel: DownChannel) -> tuple[str, ...]:
        """What a channel's notifies are signed with: its credentials for them, else those of its calls.

        Stored ones go before the named secret; none: unsigned.
        """
        no, live = channel.channel_no, self.credentials.live
        if own := live.texts(NOTIFY.name, no):
            return own
        named = named_secret.lines(channel.secret_name, self.settings.secrets_dir)
        return (*live.texts(CHANNEL.name, no), *named)

    def endpoint_secrets(self, endpoint: NotifyEndpoint, channel: DownChannel) -> tuple[str, ...]:
        """What an endpoint is signed to with: its own credentials, else those of its channel's notifies."""
        own = self.credentials.live.texts(ENDPOINT.name, endpoint.endpoint_no)
        return own or self.notify_secrets(channel)

    def queue(self, line_id: int, kind: Kind[Any]) -> str:
        """The queue of a step for a line: the line's own column."""
        line = self.catalogue.lines.get(line_id)
        column = kinds.QUEUE_COLUMNS[kind.name]
        return (line.queues.get(column) if line else None) or QUEUES[column][0]

    def enqueue(
        self,
        work: UnitOfWork,
        kind: Kind[Any],
        line_id: int,
        step: kinds.Step,
        *,
        delay_s: float = 0,
        deadline_s: float | None = None,
        task_id: int | None = None,
        cover: Cover | None = None,
    ) -> int:
        """Add the task of a step to the queue of its order's line; its id."""
        return work.tasks.add(
            kind,
            step,
            order_no=str(step.order_id),
            queue=self.queue(line_id, kind),
            delay_s=delay_s,
            deadline_s=deadline_s,
            task_id=task_id,
            cover=cover,
        )

    def serves(self, line_id: int, kind: Kind[Any]) -> bool:
        """Whether this process would run that step of the line at once, so that steps may run inline."""
        worker = self.app.worker
        return worker is not None and worker.accepts(kind, self.queue(line_id, kind))

    async def orders(
        self, order_ids: Iterable[int], db: AsyncConnection | None = None
    ) -> dict[int, Order]:
        """Orders as sold, from memory or read (on `db` where a transaction is under way)."""
        found: dict[int, Order] = {}
        missing: list[int] = []
        for order_id in order_ids:
            cached = self.memory.get(order_id)
            if cached is not None:
                found[order_id] = cached.order
            else:
                missing.append(order_id)
        if missing and db is not None:
            found |= await store.order_facts(db, missing)
        elif missing:
            async with self.app.db.connect() as connection:
                found |= await store.order_facts(connection, missing)
        return found
