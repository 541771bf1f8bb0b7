"""CatalogueService: product lines, channels, shelves, products."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, date, datetime, time
from typing import Any, Final

from msgspec import structs

from shoudan.order.v1 import catalogue_service_pb2 as pb
from shoudan.order.v1 import catalogue_service_pb2_grpc as grpc_pb
from shoudan_kit.clock import BEIJING, day_of
from shoudan_kit.ids import id_of
from shoudan_kit.rpc.messages import RpcContext
from shoudan_kit.rpc.shielded import shielded
from shoudan_order import routes
from shoudan_order.catalogue import admin, price_lists, segment_admin, supplier_prices
from shoudan_order.catalogue.index import Catalogue
from shoudan_order.catalogue.model import Line, RoutePolicy
from shoudan_order.catalogue.price_rules import Stated
from shoudan_order.catalogue.segments import FILE_BYTES_MAX
from shoudan_order.context import Context
from shoudan_order.refusals import FieldInvalid
from shoudan_order.rpc.messages import KEY_CHARS_MAX, filled, text_problem
from shoudan_order.states import LossRule

TUPLES: Final = frozenset(
    {"allowed_networks", "notify_networks", "forbid_supplier_classes", "shelf_events", "events"}
)
PAGE_DEFAULT: Final = 500
PAGE_MAX: Final = 1_000
REASON_CHARS_MAX: Final = 256
FIRST_DAY: Final = date(2000, 1, 1)
LAST_DAY: Final = date(2999, 12, 31)
RETURNS = 21  # the one documented service class of returns

# The messages of the contract have the names of the rows.
MESSAGES: dict[str, Any] = {
    kind: getattr(pb, row.__name__) for kind, (row, _) in admin.TYPES.items()
}


class CatalogueServicer(grpc_pb.CatalogueServiceServicer):
    """The calls of CatalogueService."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def ApplyCatalogue(
        self, request: pb.ApplyCatalogueRequest, context: RpcContext
    ) -> pb.ApplyCatalogueResponse:
        """Upsert rows; with dry_run only list what would change."""
        if not request.by or len(request.by) > 64:
            raise FieldInvalid("by", "1 to 64 characters")
        rows = admin.Rows({kind: read_rows(kind, request.catalogue) for kind in MESSAGES})
        made = await admin.apply(
            self._context, rows, request.by, dry_run=request.dry_run, base=request.base
        )
        return pb.ApplyCatalogueResponse(
            changes=made.changes, version=made.version, warnings=made.warnings, base=made.base
        )

    async def GetCatalogue(
        self, request: pb.GetCatalogueRequest, context: RpcContext
    ) -> pb.GetCatalogueResponse:
        """All of it, as this process uses it, or what changed since the version that the caller has."""
        changed = await admin.changed_since(self._context, request.known_version)
        now = changed or self._context.catalogue
        return pb.GetCatalogueResponse(
            catalogue=_message(now), version=now.version, only_changed=changed is not None
        )

    async def ReportPrices(
        self, request: pb.ReportPricesRequest, context: RpcContext
    ) -> pb.ReportPricesResponse:
        """What came of each statement, in order."""
        if len(request.prices) > PAGE_MAX:
            raise FieldInvalid("prices", f"at most {PAGE_MAX}")
        stated = [_stated(one) for one in request.prices]
        found = await shielded(supplier_prices.take(self._context, stated))
        return pb.ReportPricesResponse(outcomes=found)

    async def ListProducts(
        self, request: pb.ListProductsRequest, context: RpcContext
    ) -> pb.ListProductsResponse:
        """One page of a channel's price list."""
        wanted = price_lists.Wanted(
            request.channel_no, request.since_version, request.page_size, request.page_token
        )
        made = await price_lists.page(self._context, wanted)
        return filled(
            pb.ListProductsResponse,
            made,
            products=[filled(pb.ShelfProduct, one) for one in made.products],
        )

    async def GetRoute(
        self, request: pb.GetRouteRequest, context: RpcContext
    ) -> pb.GetRouteResponse:
        """Why each part of an order went to its supplier."""
        parts, unbound = await routes.explain(self._context, request.order_id)
        return pb.GetRouteResponse(
            unbound=unbound,
            parts=[
                filled(
                    pb.RoutePart,
                    structs.asdict(one.delivery),
                    delivery_status=one.delivery_status,
                    words=words,
                )
                for one, words in parts
            ],
        )

    async def CheckRoute(
        self, request: pb.CheckRouteRequest, context: RpcContext
    ) -> pb.CheckRouteResponse:
        """What a policy would have chosen for a page of a day's orders."""
        size = min(request.page_size or PAGE_DEFAULT, PAGE_MAX)
        after, day = id_of(request.page_token or "0"), day_of(request.day)
        if size < 1 or after is None:
            raise FieldInvalid("page_size", f"1 to {PAGE_MAX}, and a token of the page before")
        if day is None or not FIRST_DAY <= day <= LAST_DAY:
            raise FieldInvalid("day", "a day like 2026-01-31")
        start = datetime.combine(day, time(), BEIJING)
        line = _tried(self._context.catalogue, request)
        made = await routes.simulate(self._context, line, start, after, size)
        more = str(made.next_after) if made.next_after else ""
        return filled(pb.CheckRouteResponse, made, next_page_token=more)

    async def ImportSegments(
        self, request: pb.ImportSegmentsRequest, context: RpcContext
    ) -> pb.ImportSegmentsResponse:
        """All rows of a file, or none."""
        if not 1 <= len(request.file) <= FILE_BYTES_MAX:
            raise FieldInvalid("file", f"1 to {FILE_BYTES_MAX} bytes")
        texts = (
            ("by", request.by, 1, KEY_CHARS_MAX),
            ("reason", request.reason, 1, REASON_CHARS_MAX),
        )
        if problem := text_problem(texts, ""):
            raise problem
        done = await shielded(
            segment_admin.take(self._context, request.file, request.by, request.reason)
        )
        problems = [
            pb.ImportSegmentsResponse.Problem(row=row, why=why) for row, why in done.problems.words
        ]
        return pb.ImportSegmentsResponse(
            version=done.version,
            rows=done.rows,
            problems=problems,
            problem_count=done.problems.count,
        )

    async def GetSegments(
        self, request: pb.GetSegmentsRequest, context: RpcContext
    ) -> pb.GetSegmentsResponse:
        """What was imported last, by carrier and province."""
        await segment_admin.refresh(self._context)
        now, last = self._context.segments, await segment_admin.last_import(self._context)
        areas = [filled(pb.SegmentArea, structs.asdict(one)) for one in now.areas]
        made = pb.GetSegmentsResponse(version=now.version, rows=now.rows, areas=areas)
        if last is not None:
            made.made_by = last.made_by
            made.import_time.FromDatetime(last.import_time)
        return made

    async def GetSegment(
        self, request: pb.GetSegmentRequest, context: RpcContext
    ) -> pb.GetSegmentResponse:
        """As orders find it, in the newest table."""
        texts = (("recharge_account", request.recharge_account, 1, KEY_CHARS_MAX),)
        if problem := text_problem(texts, ""):
            raise problem
        await segment_admin.refresh(self._context)
        found = self._context.segments.find(request.recharge_account)
        if found is None:
            return pb.GetSegmentResponse()
        return pb.GetSegmentResponse(area=filled(pb.SegmentArea, structs.asdict(found)))


def _stated(one: pb.StatedPrice) -> Stated:
    """A statement. Raises FieldInvalid for a time that is none."""
    try:
        as_of = one.as_of.ToDatetime(UTC)
        start = one.from_time.ToDatetime(UTC) if one.HasField("from_time") else None
    except ValueError:
        raise FieldInvalid("as_of", "a time of the calendar") from None
    return Stated(
        one.channel_no,
        one.product,
        as_of,
        one.version,
        one.price_micros if one.HasField("price_micros") else None,
        one.available if one.HasField("available") else None,
        start,
        one.carrier_no,
        one.face_micros,
    )


def _tried(now: Catalogue, request: pb.CheckRouteRequest) -> Line:
    """The line with the policy to try. Raises FieldInvalid, CatalogueInvalid."""
    line = now.lines.get(request.line_id)
    if line is None:
        raise FieldInvalid("line_id", "no line has this number")
    tried = replace(
        line,
        route_policy=request.route_policy or RoutePolicy.CHEAPEST,
        route_weights=dict(request.route_weights),
        route_terms=dict(request.route_terms),
    )
    rows = admin.Rows({"lines": [tried]})
    admin.check(admin.merged(now, rows), rows)
    return tried


def read_rows(kind: str, given: pb.Catalogue) -> list[Any]:
    """The rows of one kind."""
    return [_row(kind, one) for one in getattr(given, kind)]


def _row(kind: str, message: Any) -> Any:
    """The row of a message: same names; empty regions are `*`."""
    made: dict[str, Any] = {}
    for one in fields(admin.TYPES[kind][0]):
        value = getattr(message, one.name)
        if one.name in {"queues", "route_weights", "route_terms"}:
            value = dict(value)
        elif one.name in TUPLES:
            value = tuple(value)
        elif one.name in {"province_no", "city_no"}:
            value = value or "*"
        elif one.name == "return_service_class":
            value = value or RETURNS
        elif one.name == "loss_rule":
            value = value or LossRule.ALLOW
        elif one.name == "price_rule":
            value = value or ("ignore" if kind == "up_channels" else "")
        elif one.name == "route_policy":
            value = value or RoutePolicy.CHEAPEST
        made[one.name] = value
    return admin.TYPES[kind][0](**made)


def _message(now: Catalogue) -> pb.Catalogue:
    return pb.Catalogue(
        **{
            kind: [filled(made, row) for row in getattr(now, kind).values()]
            for kind, made in MESSAGES.items()
        }
    )
