"""Calls about templates and modes of paying, and about pages of any collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy.exc import IntegrityError

from shoudan.pay.v1 import payment_service_pb2 as pb
from shoudan_kit.db.errors import taken
from shoudan_kit.db.pages import NUMBERED_MAX
from shoudan_kit.rpc.messages import RpcContext
from shoudan_kit.secrets import named_secret
from shoudan_kit.service import App
from shoudan_pay.config import PaySettings
from shoudan_pay.payserver import numbers
from shoudan_pay.payserver.components import SECRET_NAME, Components
from shoudan_pay.payserver.refusals import EnvCheckFailed, ResourceNotFound, TemplateNotFound
from shoudan_pay.payserver.store import lists
from shoudan_pay.payserver.store import modes as store
from shoudan_pay.payserver.store.lists import Collection, PageTooFar, UnknownField, Wanted
from shoudan_pay.payserver.store.modes import Mode, Template, Terms
from shoudan_pay.refusals import FieldInvalid
from shoudan_pay.rpc import payment_messages
from shoudan_pay.rpc.ledger_messages import text

ORDER_MAX: Final = 1_000_000
# Under what a change gives, so that it alone is checked.
_ANY: Final = payment_messages.terms(pb.Terms(name="-"))

# Column by which the rows of a collection belong to a resource of another.
SCOPES: Final[Mapping[tuple[int, int], str]] = {
    (pb.COLLECTION_TEMPLATES, pb.COLLECTION_MODES): "template_id",
    (pb.COLLECTION_TEMPLATES, pb.COLLECTION_PAYS): "template_id",
    (pb.COLLECTION_TEMPLATES, pb.COLLECTION_REFUNDS): "template_id",
    (pb.COLLECTION_TEMPLATES, pb.COLLECTION_TRADES): "template_id",
    (pb.COLLECTION_MODES, pb.COLLECTION_PAYS): "mode_uuid",
    (pb.COLLECTION_MODES, pb.COLLECTION_REFUNDS): "mode_uuid",
    (pb.COLLECTION_MODES, pb.COLLECTION_TRADES): "mode_uuid",
    (pb.COLLECTION_PAYS, pb.COLLECTION_REFUNDS): "pay_uuid",
    (pb.COLLECTION_PAYS, pb.COLLECTION_TRADES): "pay_uuid",
    (pb.COLLECTION_REFUNDS, pb.COLLECTION_TRADES): "refund_uuid",
}


class ModeCalls:
    """The part of PaymentService that is about ways of paying and about pages."""

    _app: App[PaySettings]
    _components: Components

    async def RegisterTemplate(
        self, request: pb.RegisterTemplateRequest, context: RpcContext
    ) -> pb.RegisterTemplateResponse:
        """Make it, or give the one that exists these terms."""
        template_id = text("payTemplateId", request.template_id, 64)
        async with self._app.db.connect() as db:
            known = await store.template_by_id(db, template_id)
        secret = known.terms.secret_name if known is not None else ""
        terms = payment_messages.terms(
            request.terms, msgspec.structs.replace(payment_messages.BARE, secret_name=secret)
        )
        await self._check(terms)
        changes = changes_of(known, terms)
        if request.dry_run:
            return pb.RegisterTemplateResponse(changes=changes)
        given = {template_id: (_uuid(request.uuid), terms)}
        made = await self._register(given, wanted=bool(request.uuid))
        if made is None:  # the same template, made at the same moment, is there now
            made = await self._register(given, wanted=bool(request.uuid))
        if made is None:
            raise FieldInvalid("uuid", "belongs to another template")
        return pb.RegisterTemplateResponse(
            template=payment_messages.template_message(made), changes=changes
        )

    async def CreateMode(
        self, request: pb.CreateModeRequest, context: RpcContext
    ) -> pb.CreateModeResponse:
        """Of a template, or of its own; a template's environment check is asked first."""
        merchant = text("merchantUUID", request.merchant_uuid, 64)
        href = text("merchantHref", request.merchant_href, payment_messages.URL_MAX, optional=True)
        template_id = text("payTemplateId", request.template_id, 64, optional=True)
        uuid = _uuid(request.uuid)
        terms, environment = await self._terms(request.terms, template_id)
        if not 0 <= request.ui_order <= ORDER_MAX:
            raise FieldInvalid("uiOrder", f"is not within 0..{ORDER_MAX}")
        if environment and request.opened:
            checked = await self._components.check_environment(environment, href or merchant)
            if not checked.agreed:
                raise EnvCheckFailed(template_id, checked.shown)
        now = self._app.clock.now()
        mode = Mode(
            0,
            uuid,
            template_id or None,
            merchant,
            href,
            request.fast,
            request.opened,
            request.ui_order,
            now,
            now,
            terms,
        )
        async with self._app.work("payserver_modes") as work:
            made = await store.create(work.db, mode)
        if made is None:
            raise FieldInvalid("uuid", "belongs to another mode")
        return pb.CreateModeResponse(mode=payment_messages.mode_message(made))

    async def UpdateMode(
        self, request: pb.UpdateModeRequest, context: RpcContext
    ) -> pb.UpdateModeResponse:
        """Change what is set."""
        # Names are resolved here, before a row is locked.
        await self._check(payment_messages.terms(request.terms, _ANY))
        async with self._app.work("payserver_modes") as work:
            mode = await store.lock(work.db, payment_messages.resource(request.uuid))
            caller = request.caller.merchant_uuid
            if mode is None or caller not in {"", mode.merchant_uuid}:
                raise ResourceNotFound(request.uuid[:64])
            changed: dict[str, Any] = {
                name: getattr(request, name)
                for name in ("fast", "opened", "ui_order")
                if request.HasField(name)
            }
            terms = payment_messages.terms(request.terms, mode.terms)
            made = await store.update(
                work.db, msgspec.structs.replace(mode, terms=terms, **changed)
            )
        return pb.UpdateModeResponse(mode=payment_messages.mode_message(made))

    async def ListAllModes(
        self, request: pb.ListAllModesRequest, context: RpcContext
    ) -> pb.ListAllModesResponse:
        """A merchant's modes, and the templates it has none of."""
        merchant = text("merchantUUID", request.merchant_uuid, 64)
        wanted = Wanted(
            Collection.MODES,
            merchant_uuid=merchant,
            orderings=payment_messages.orderings(request.orderings),
            limit=store.LIST_MAX,
        )
        async with self._app.db.connect() as db:
            modes, _ = await _page(db, wanted, counted=False)
            templates = await store.unopened(db, merchant)
        return pb.ListAllModesResponse(
            modes=[payment_messages.mode_message(one) for one in modes],
            templates=[payment_messages.template_message(one) for one in templates],
        )

    async def ListResources(
        self, request: pb.ListResourcesRequest, context: RpcContext
    ) -> pb.ListResourcesResponse:
        """One page, with the to-one resources that were to be fetched."""
        collection = payment_messages.COLLECTIONS.get(request.collection)
        if collection is None:
            raise FieldInvalid("collection", "is none that can be listed")
        offset, limit = payment_messages.page(request)
        async with self._app.db.connect() as db:
            scope = await self._scope(db, request)
            wanted = Wanted(
                collection,
                merchant_uuid=request.caller.merchant_uuid,
                uuid=payment_messages.resource(request.uuid),
                scope=scope,
                conditions=payment_messages.conditions(request.filters),
                orderings=payment_messages.orderings(request.orderings),
                offset=offset,
                limit=limit,
            )
            rows, size = await _page(db, wanted)
            if request.uuid and not rows:
                raise ResourceNotFound(request.uuid[:64])
            answer = _answer(collection, rows, size)
            await _expand(db, answer, rows, set(request.expand))
        return answer

    async def _register(
        self, given: Mapping[str, tuple[str, Terms]], *, wanted: bool
    ) -> Template | None:
        """The template made or changed; None when its uuid was taken by another transaction."""
        try:
            async with self._app.work("payserver_modes") as work:
                (made,) = await store.register(work.db, given, wanted=wanted)
        except IntegrityError as error:
            if not taken(error):
                raise
            return None
        return made

    async def _scope(self, db: Any, request: pb.ListResourcesRequest) -> tuple[str, str] | None:
        """The column and value of the resource whose rows are wanted. Raises ResourceNotFound."""
        if not request.parent_uuid:
            return None
        column = SCOPES.get((request.parent, request.collection))
        parent = payment_messages.COLLECTIONS.get(request.parent)
        if column is None or parent is None:
            raise FieldInvalid("parent", "has no such collection")
        wanted = Wanted(
            parent,
            merchant_uuid=request.caller.merchant_uuid,
            uuid=payment_messages.resource(request.parent_uuid),
            limit=1,
        )
        rows, _ = await _page(db, wanted, counted=False)
        if not rows:
            raise ResourceNotFound(request.parent_uuid[:64])
        value = rows[0].template_id if column == "template_id" else request.parent_uuid
        return column, value

    async def _terms(self, given: pb.Terms, template_id: str) -> tuple[Terms, str]:
        """The terms of a new mode and the environment check of its template."""
        if not template_id:
            terms = payment_messages.terms(given)
            await self._check(terms)
            return terms, terms.check_env_url or ""
        async with self._app.db.connect() as db:
            template = await store.template_by_id(db, template_id)
        if template is None:
            raise TemplateNotFound(template_id)
        terms = payment_messages.terms(given, template.terms)
        await self._check(terms)
        return terms, template.terms.check_env_url or ""

    async def _check(self, terms: Terms) -> None:
        await check_terms(self._components, terms)


async def check_terms(components: Components, terms: Terms) -> None:
    """Refuse addresses that may not be called and names of other secrets."""
    for ours, theirs in payment_messages.URL_TERMS.items():
        await components.check_url(ours, theirs, getattr(terms, ours))
    if terms.secret_name and not SECRET_NAME.fullmatch(terms.secret_name):
        raise FieldInvalid("secretName", "does not begin with SHOUDAN_COMPONENT_")
    if terms.secret_name and components.is_demo(terms.secret_name):
        raise FieldInvalid("secretName", named_secret.REFUSED)


def _uuid(wanted: str) -> str:
    """The one wanted, else a new one. Raises FieldInvalid."""
    uuid = wanted or numbers.new_uuid()
    if not (len(uuid) == numbers.UUID_CHARS and uuid.isascii() and uuid.isalnum()):
        raise FieldInvalid("uuid", "is not of 22 letters and digits")
    return uuid


def changes_of(known: Template | None, terms: Terms) -> list[str]:
    """What becomes of a template's terms, one line each; the secret's name is not told."""
    if known is None:
        return ["new"]
    return [
        name if name == "secret_name" else f"{name} {getattr(terms, name)}"
        for name in store.TERMS
        if getattr(known.terms, name) != getattr(terms, name)
    ]


async def _page(db: Any, wanted: Wanted, *, counted: bool = True) -> tuple[list[Any], int]:
    try:
        return await lists.page(db, wanted, counted=counted)
    except UnknownField as unknown:
        raise FieldInvalid(str(unknown)[:64], "cannot be filtered or sorted by so") from None
    except PageTooFar:
        raise FieldInvalid(
            "createdAt", f"leaves more than {NUMBERED_MAX} rows to look through: narrow it"
        ) from None


def _answer(collection: Collection, rows: Sequence[Any], size: int) -> pb.ListResourcesResponse:
    answer = pb.ListResourcesResponse(size=size)
    if collection is Collection.TEMPLATES:
        answer.templates.extend(map(payment_messages.template_message, rows))
    elif collection is Collection.MODES:
        answer.modes.extend(map(payment_messages.mode_message, rows))
    elif collection is Collection.PAYS:
        answer.pays.extend(map(payment_messages.pay_message, rows))
    elif collection is Collection.REFUNDS:
        answer.refunds.extend(map(payment_messages.refund_message, rows))
    else:
        answer.trades.extend(map(payment_messages.trade_message, rows))
    return answer


async def _expand(
    db: Any, answer: pb.ListResourcesResponse, rows: Sequence[Any], expand: set[str]
) -> None:
    """Add what the rows link to; links a collection has not are nothing to fetch."""
    if "payMode" in expand and (answer.pays or answer.refunds or answer.trades):
        found = await store.usable(db, {row.mode_uuid for row in rows if hasattr(row, "mode_uuid")})
        answer.modes.extend(payment_messages.mode_message(one.mode) for one in found.values())
    if "payOrder" in expand and (answer.refunds or answer.trades):
        uuids = tuple({row.pay_uuid for row in rows})
        condition = lists.Condition("uuid", lists.Operator.IN, uuids)
        wanted = Wanted(Collection.PAYS, conditions=[condition], limit=len(uuids))
        found, _ = await _page(db, wanted, counted=False)
        answer.pays.extend(payment_messages.pay_message(one) for one in found)
