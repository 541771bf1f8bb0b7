"""The configuration file's part for PayServer: templates of paying, and packages that members pay with."""

from __future__ import annotations

from typing import Any, Final

from shoudan.pay.v1 import ledger_service_pb2 as ledger
from shoudan.pay.v1 import payment_service_pb2 as pay
from shoudan.pay.v1 import payment_service_pb2_grpc as pay_grpc
from shoudan.pay.v1 import setup_service_pb2 as setup
from shoudan_cli.clients import Clients
from shoudan_configuration.document import Document

PAGE: Final = 100
PAGES_MAX: Final = 100


def templates_of(document: Document) -> list[setup.SetupTemplate]:
    """The file's templates as messages."""
    return [
        setup.SetupTemplate(
            template_id=one.template_id,
            terms=pay.Terms(**one.model_dump(exclude={"template_id"}, exclude_none=True)),
        )
        for one in document.pay_mode_templates
    ]


def packages_of(document: Document) -> list[setup.SetupPackage]:
    """The file's packages as messages."""
    return [
        setup.SetupPackage(
            account=ledger.AccountKey(ident=one.ident, groups=one.groups, eid=one.eid),
            **one.model_dump(include={"spkg_id", "name", "total_capacity", "capacity_daily"}),
        )
        for one in document.packages
    ]


async def template_rows(clients: Clients) -> list[dict[str, Any]]:
    """Every template as the file has it, oldest first; names of secrets are left out."""
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
