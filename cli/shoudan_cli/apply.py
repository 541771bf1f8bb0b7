"""The configuration file against a running system: what would change, change it, write it down again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

import yaml
from google.protobuf.json_format import MessageToDict

from shoudan.core.v1.proposal_service_pb2 import Proposal
from shoudan.delivery.v1 import delivery_service_pb2 as delivery
from shoudan.delivery.v1 import delivery_service_pb2_grpc as delivery_grpc
from shoudan.order.v1 import catalogue_service_pb2 as catalogue
from shoudan.order.v1 import catalogue_service_pb2_grpc as catalogue_grpc
from shoudan.pay.v1 import ledger_service_pb2 as pay
from shoudan.pay.v1 import ledger_service_pb2_grpc as pay_grpc
from shoudan.pay.v1 import setup_service_pb2 as setup
from shoudan.pay.v1 import setup_service_pb2_grpc as setup_grpc
from shoudan_cli import payserver
from shoudan_cli.clients import Clients, Failed
from shoudan_cli.document import Account, Document, Row
from shoudan_cli.proposals import call_or_propose
from shoudan_kit.money import micros_to_yuan, ppm_to_rate
from shoudan_kit.proposals.command import Why, summary
from shoudan_kit.rpc.message_keys import ShardsDiffer
from shoudan_kit.rpc.shard_routes import route_of

OPENING: Final = "opening"  # trade number of an account's opening balance: one for ever
PROPOSED: Final = "proposed: "
PAGE: Final = 1000
PAGES_MAX: Final = 1000
MICROS: Final = frozenset({"face", "split_order_face"})
RATES: Final = ("_discount", "_move_max")
WHOLE: Final = frozenset({3, 5})  # descriptor types int64 and int32
NESTED: Final = frozenset({"shelves", "products", "error_codes", "template"})


def fields(row: Row, **more: Any) -> dict[str, Any]:
    """A row's own values by the contract's names: amounts end in _micros, rates in _ppm."""
    values = {name: getattr(row, name) for name in type(row).model_fields if name not in NESTED}
    return {_ours(name): value for name, value in values.items()} | more


def _ours(name: str) -> str:
    if name in MICROS:
        return f"{name}_micros"
    return f"{name}_ppm" if name.endswith(RATES) else name


def catalogue_of(document: Document) -> catalogue.Catalogue:
    """The catalogue part as one message, shelves and products beside their channels."""
    down = [(one, shelf) for one in document.down_channels for shelf in one.shelves]
    up = [(one, shelf) for one in document.up_channels for shelf in one.shelves]
    return catalogue.Catalogue(
        lines=[catalogue.Line(**fields(one)) for one in document.lines],
        down_channels=[catalogue.DownChannel(**fields(one)) for one in document.down_channels],
        down_shelves=[
            catalogue.DownShelf(**fields(shelf, channel_no=one.channel_no)) for one, shelf in down
        ],
        down_products=[
            catalogue.DownProduct(**fields(product, shelf_id=shelf.shelf_id))
            for _, shelf in down
            for product in shelf.products
        ],
        up_channels=[catalogue.UpChannel(**fields(one)) for one in document.up_channels],
        up_shelves=[
            catalogue.UpShelf(**fields(shelf, channel_no=one.channel_no)) for one, shelf in up
        ],
        up_products=[
            catalogue.UpProduct(**fields(product, shelf_id=shelf.shelf_id))
            for _, shelf in up
            for product in shelf.products
        ],
        cantons=[catalogue.Canton(**fields(one)) for one in document.cantons],
        notify_endpoints=[
            catalogue.NotifyEndpoint(**fields(one)) for one in document.notify_endpoints
        ],
    )


def suppliers_of(document: Document) -> list[delivery.Supplier]:
    """The suppliers as messages."""
    return [
        delivery.Supplier(
            **fields(one),
            template=json.dumps(one.template, ensure_ascii=False) if one.template else "",
            error_codes=[delivery.Supplier.ErrorCode(**fields(c)) for c in one.error_codes],
        )
        for one in document.suppliers
    ]


async def apply(clients: Clients, document: Document, by: str, *, dry_run: bool) -> list[str]:
    """Make the system as the file says, or only say what would change; one line for each change.

    Each service takes its part in one transaction or not at all. All parts are rehearsed before the first is
    made, so that a mistake in one leaves the others unchanged. Money and suppliers come before what is sold.
    """
    steps = (_apply_setup, _apply_suppliers, _apply_catalogue)
    changes = [line for step in steps for line in await step(clients, document, by, True)]
    if not dry_run:
        for step in steps:
            made = await step(clients, document, by, False)
            changes += [line for line in made if line.startswith(PROPOSED)]
    return changes


async def warnings(clients: Clients, document: Document, by: str) -> Iterable[str]:
    """What the file sells at a loss, a line each."""
    message = catalogue.ApplyCatalogueRequest(catalogue=catalogue_of(document), by=by, dry_run=True)
    stub = catalogue_grpc.CatalogueServiceStub
    return (await clients.call("order", stub, "ApplyCatalogue", message)).warnings


async def _made(clients: Clients, service: str, stub: Any, method: str, message: Any) -> list[str]:
    """What a call changed; where it needs a second person, the line of its proposal."""
    why = Why(f"shoudan config apply, by {message.by}")
    try:
        answer = await call_or_propose(clients, service, stub, method, message, why)
    except Failed as error:
        if error.refused is None or error.refused.reason != ShardsDiffer.reason:
            raise
        parts = _parts(method, message, int(error.refused.metadata["shards"]))
        if len(parts) < 2:
            raise
        return [line for one in parts for line in await _made(clients, service, stub, method, one)]
    return (
        [f"{PROPOSED}{summary(service, answer)}"]
        if isinstance(answer, Proposal)
        else list(answer.changes)
    )


def _parts(method: str, message: Any, shards: int) -> list[Any]:
    """A call of several shards as one for each: a proposal is made in one transaction."""
    service, _, name = method.partition("/")
    route = route_of(service, name)
    assert route is not None, "it was refused by a service with several shards"
    return [part for _, part in sorted(route.split(message, shards).items())]


async def _apply_setup(
    clients: Clients, document: Document, by: str, dry_run: bool
) -> Iterable[str]:
    if not (document.accounts or document.pay_mode_templates or document.packages):
        return []
    message = setup.ApplySetupRequest(
        accounts=[
            setup.SetupAccount(
                key=_message(one),
                name="" if one.name == Account.model_fields["name"].default else one.name,
                credit_micros=one.credit_yuan,
                locked=one.locked,
                opening_micros=one.opening_yuan,
            )
            for one in document.accounts
        ],
        templates=payserver.templates_of(document),
        packages=payserver.packages_of(document),
        by=by,
        dry_run=dry_run,
    )
    stub = setup_grpc.SetupServiceStub
    return await _made(clients, "pay", stub, "shoudan.pay.v1.SetupService/ApplySetup", message)


async def _apply_catalogue(
    clients: Clients, document: Document, by: str, dry_run: bool
) -> Iterable[str]:
    message = catalogue.ApplyCatalogueRequest(
        catalogue=catalogue_of(document), by=by, dry_run=dry_run
    )
    stub = catalogue_grpc.CatalogueServiceStub
    method = "shoudan.order.v1.CatalogueService/ApplyCatalogue"
    return await _made(clients, "order", stub, method, message)


async def _apply_suppliers(
    clients: Clients, document: Document, by: str, dry_run: bool
) -> Iterable[str]:
    suppliers = suppliers_of(document)
    if not suppliers:
        return []
    message = delivery.ApplySuppliersRequest(suppliers=suppliers, by=by, dry_run=dry_run)
    stub = delivery_grpc.SupplierServiceStub
    return (await clients.call("delivery", stub, "ApplySuppliers", message)).changes


async def _accounts(clients: Clients, idents: set[str]) -> dict[tuple[str, str, str], pay.Account]:
    found: dict[tuple[str, str, str], pay.Account] = {}
    for ident in sorted(idents):
        token = ""
        for _ in range(PAGES_MAX):
            message = pay.ListAccountsRequest(ident=ident, page_size=PAGE, page_token=token)
            page = await _pay(clients, "ListAccounts", message)
            found |= {(a.key.ident, a.key.groups, a.key.eid): a for a in page.accounts}
            token = page.next_page_token
            if not token:
                break
    return found


async def _openings(clients: Clients, idents: set[str]) -> dict[tuple[str, str, str], int]:
    """Amounts of the openings posted so far."""
    found: dict[tuple[str, str, str], int] = {}
    for ident in sorted(idents):
        token = ""
        for _ in range(PAGES_MAX):
            message = pay.ListRecordsRequest(
                account=pay.AccountKey(ident=ident),
                trade_no=OPENING,
                change_type=pay.CHANGE_TYPE_ADD,
                page_size=PAGE,
                page_token=token,
            )
            page = await _pay(clients, "ListRecords", message)
            found |= {
                (r.account.ident, r.account.groups, r.account.eid): r.amount_micros
                for r in page.records
            }
            token = page.next_page_token
            if not token:
                break
    return found


async def _pay(clients: Clients, rpc: str, message: Any) -> Any:
    return await clients.call("pay", pay_grpc.LedgerServiceStub, rpc, message)


def _message(one: Account) -> pay.AccountKey:
    return pay.AccountKey(ident=one.ident, groups=one.groups, eid=one.eid)


# ------------------------------------------------------------ back to a file
async def export(clients: Clients, ident: str = "oms") -> str:
    """The whole configuration as YAML, in the form `apply` takes. Openings are those once posted."""
    stub = catalogue_grpc.CatalogueServiceStub
    request = catalogue.GetCatalogueRequest()
    found = (await clients.call("order", stub, "GetCatalogue", request)).catalogue
    suppliers = await clients.call(
        "delivery",
        delivery_grpc.SupplierServiceStub,
        "ListSuppliers",
        delivery.ListSuppliersRequest(),
    )
    document = _catalogue_rows(found)
    document["suppliers"] = [_supplier(one) for one in suppliers.suppliers]
    document["accounts"] = await _account_rows(clients, ident)
    document["pay_mode_templates"] = await payserver.template_rows(clients)
    return yaml.safe_dump(document, allow_unicode=True, sort_keys=False, width=110)


def _plain(message: Any) -> dict[str, Any]:
    """A message as YAML writes it: our names back to the file's, 64-bit numbers as numbers."""
    row: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    shown: dict[str, Any] = {}
    for name, value in row.items():
        kind = message.DESCRIPTOR.fields_by_name[name].type
        number: Any = int(value) if kind in WHOLE and isinstance(value, str | int) else value
        if name.endswith("_micros"):
            shown[name.removesuffix("_micros")] = micros_to_yuan(number)
        elif name.endswith("_ppm"):
            shown[name.removesuffix("_ppm")] = ppm_to_rate(number)
        else:
            shown[name] = number
    return shown


def _without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def _channel(one: Any) -> dict[str, Any]:
    """A channel's own values; one without a signature says so."""
    row = _plain(one)
    return row | ({"auth_mode": row["auth_mode"] or "none"} if "auth_mode" in row else {})


def _nested(channels: Any, shelves: Any, products: Any) -> list[dict[str, Any]]:
    """Channels with their shelves with their products."""
    return [
        _channel(one)
        | {
            "shelves": [
                _without(_plain(shelf), "channel_no")
                | {
                    "products": [
                        _without(_plain(p), "shelf_id")
                        for p in products
                        if p.shelf_id == shelf.shelf_id
                    ]
                }
                for shelf in shelves
                if shelf.channel_no == one.channel_no
            ]
        }
        for one in channels
    ]


def _catalogue_rows(found: catalogue.Catalogue) -> dict[str, Any]:
    return {
        "lines": [_plain(one) for one in found.lines],
        "down_channels": _nested(found.down_channels, found.down_shelves, found.down_products),
        "up_channels": _nested(found.up_channels, found.up_shelves, found.up_products),
        "cantons": [_plain(one) for one in found.cantons],
        "notify_endpoints": [_plain(one) for one in found.notify_endpoints],
    }


def _supplier(one: delivery.Supplier) -> dict[str, Any]:
    row = _without(_plain(one), "state", "state_reason", "balance_yuan", "error_codes")
    whole = one.timeout_s.is_integer()
    row["timeout_s"] = int(one.timeout_s) if whole else one.timeout_s
    row["template"] = json.loads(one.template) if one.template else {}
    return row | {"error_codes": [_plain(code) for code in one.error_codes]}


async def _account_rows(clients: Clients, ident: str) -> list[dict[str, Any]]:
    openings = await _openings(clients, {ident})
    there = await _accounts(clients, {ident})
    return [
        {
            "ident": one.key.ident,
            "groups": one.key.groups,
            "eid": one.key.eid,
            "name": one.name,
            "locked": one.locked,
            "opening_yuan": micros_to_yuan(openings.get(key, 0)),
            "credit_yuan": micros_to_yuan(one.credit_micros),
        }
        for key, one in there.items()
        if one.key.groups != "platform"
    ]
