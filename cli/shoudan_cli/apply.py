"""The configuration file against a running system: what would change, change it, write it down again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

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
from shoudan_cli.proposals import call_or_propose
from shoudan_configuration.document import Account, Document
from shoudan_configuration.messages import (
    catalogue_of,
    catalogue_rows,
    supplier_row,
    suppliers_of,
    text_of,
)
from shoudan_kit.money import micros_to_yuan
from shoudan_kit.proposals.command import Why, summary
from shoudan_kit.rpc.message_keys import ShardsDiffer
from shoudan_kit.rpc.shard_routes import route_of

OPENING: Final = "opening"  # trade number of an account's opening balance: one for ever
PROPOSED: Final = "proposed: "
PAGE: Final = 1000
PAGES_MAX: Final = 1000


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
    document = catalogue_rows(found)
    document["suppliers"] = [supplier_row(one) for one in suppliers.suppliers]
    document["accounts"] = await _account_rows(clients, ident)
    document["pay_mode_templates"] = await payserver.template_rows(clients)
    return text_of(document)


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
