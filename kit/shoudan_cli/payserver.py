"""The configuration file's part for PayServer: templates of paying, and packages that members pay with."""

from __future__ import annotations

from typing import Any, Final

from shoudan.pay.v1 import ledger_service_pb2 as ledger
from shoudan.pay.v1 import ledger_service_pb2_grpc as ledger_grpc
from shoudan.pay.v1 import payment_service_pb2 as pay
from shoudan.pay.v1 import payment_service_pb2_grpc as pay_grpc
from shoudan_cli.clients import Clients, Failed
from shoudan_cli.document import Document, Package, PayModeTemplate

PAGE: Final = 100
PAGES_MAX: Final = 100
ABSENT: Final = frozenset({"ERROR_REASON_PACKAGE_NOT_FOUND", "ERROR_REASON_ACCOUNT_NOT_FOUND"})


async def apply(clients: Clients, document: Document, *, dry_run: bool) -> list[str]:
    """Make templates and packages as the file says, or only say what would change."""
    changes: list[str] = []
    for template in document.pay_mode_templates:
        changes += await _apply_template(clients, template, dry_run)
    for package in document.packages:
        changes += await _apply_package(clients, package, dry_run)
    return changes


async def _apply_template(clients: Clients, one: PayModeTemplate, dry_run: bool) -> list[str]:
    """Written only when something changes, so that modifiedAt keeps its meaning."""
    message = pay.RegisterTemplateRequest(
        template_id=one.template_id,
        terms=pay.Terms(**one.model_dump(exclude={"template_id"}, exclude_none=True)),
        dry_run=True,
    )
    found = (await _register(clients, message)).changes
    if found and not dry_run:
        message.dry_run = False
        await _register(clients, message)
    return [f"pay mode template {one.template_id}: {change}" for change in found]


async def _register(clients: Clients, message: pay.RegisterTemplateRequest) -> Any:
    return await clients.call("pay", pay_grpc.PaymentServiceStub, "RegisterTemplate", message)


async def _apply_package(clients: Clients, one: Package, dry_run: bool) -> list[str]:
    account = ledger.AccountKey(ident=one.ident, groups=one.groups, eid=one.eid)
    stub = ledger_grpc.LedgerServiceStub
    try:
        asked = ledger.GetPackageRequest(account=account, spkg_id=one.spkg_id)
        await clients.call("pay", stub, "GetPackage", asked)
    except Failed as failed:
        if failed.refused is None or failed.refused.reason not in ABSENT:
            raise
    else:
        return []
    if not dry_run:
        values = one.model_dump(include={"spkg_id", "name", "total_capacity", "capacity_daily"})
        wanted = ledger.CreatePackageRequest(account=account, **values)
        await clients.call("pay", stub, "CreatePackage", wanted)
    return [f"package {one.ident}/{one.groups}/{one.eid}/{one.spkg_id}: new"]


async def template_rows(clients: Clients) -> list[dict[str, Any]]:
    """Every template as the file has it, oldest first; names of secrets are never told."""
    rows: list[dict[str, Any]] = []
    for page in range(PAGES_MAX):
        asked = pay.ListResourcesRequest(
            collection=pay.COLLECTION_TEMPLATES,
            orderings=[pay.Ordering(field="id")],
            offset=page * PAGE,
            limit=PAGE,
        )
        found = await clients.call("pay", pay_grpc.PaymentServiceStub, "ListResources", asked)
        rows += [_row(one) for one in found.templates]
        if len(found.templates) < PAGE:
            break
    return rows


def _row(one: pay.Template) -> dict[str, Any]:
    return {
        "template_id": one.template_id,
        **{field.name: value for field, value in one.terms.ListFields()},
    }
