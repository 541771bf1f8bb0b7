"""SetupService: accounts, ways of paying and packages of a configuration file."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, Final

from shoudan.pay.v1 import setup_service_pb2 as pb
from shoudan.pay.v1 import setup_service_pb2_grpc as grpc_stubs
from shoudan_kit.rpc.messages import RpcContext
from shoudan_kit.service import App
from shoudan_pay.config import PaySettings
from shoudan_pay.ledger import accounts, package_moves, postings
from shoudan_pay.ledger.packages import EXPIRES_NEVER
from shoudan_pay.ledger.store.accounts import NewAccount
from shoudan_pay.payserver.components import Components
from shoudan_pay.refusals import FieldInvalid
from shoudan_pay.rpc import ledger_messages, payment_messages
from shoudan_pay.rpc.ledger_messages import NAME_MAX, SPKG_MAX, text
from shoudan_pay.setup import Configuration, Keeps, WantedAccount, WantedPackage, apply

ROWS_MAX: Final = 10_000
BY_CHARS_MAX: Final = 64


class SetupServicer(grpc_stubs.SetupServiceServicer):
    """shoudan.pay.v1.SetupService."""

    def __init__(self, app: App[PaySettings], components: Components) -> None:
        self._app, self._components = app, components

    async def ApplySetup(
        self, request: pb.ApplySetupRequest, context: RpcContext
    ) -> pb.ApplySetupResponse:
        """Make everything as given, or only list what would change."""
        wanted = read_setup(request, self._app.settings.limit_exempt_groups)
        changes = await apply(
            self._app,
            self._components,
            wanted,
            dry_run=request.dry_run,
        )
        return pb.ApplySetupResponse(changes=changes)


def read_setup(request: pb.ApplySetupRequest, exempt: Collection[str]) -> Configuration:
    """What shall be there; accounts of `exempt` groups have no limit. Raises FieldInvalid, AmountInvalid."""
    text("by", request.by, BY_CHARS_MAX)
    for name in ("accounts", "templates", "packages"):
        if len(getattr(request, name)) > ROWS_MAX:
            raise FieldInvalid(name, f"has more than {ROWS_MAX}")
    wanted = [_account(one, exempt) for one in request.accounts]
    _no_repeats("accounts", [one.new.key for one in wanted])
    _no_repeats("templates", [one.template_id for one in request.templates])
    templates = {
        text("payTemplateId", one.template_id, 64): partial(payment_messages.terms, one.terms)
        for one in request.templates
    }
    return Configuration(wanted, templates, [_package(one) for one in request.packages])


def _account(given: pb.SetupAccount, exempt: Collection[str]) -> WantedAccount:
    ident, groups, eid = ledger_messages.key(given.key)
    name = text("name", given.name or eid, NAME_MAX)
    new = NewAccount(ident, groups, eid, name, given.credit_micros, groups not in exempt)
    accounts.check_new(new)
    locked = given.locked if given.HasField("locked") else None
    keeps = Keeps(name=not given.name, credit=not given.HasField("credit_micros"))
    wanted = WantedAccount(new, keeps, locked, given.opening_micros)
    if given.opening_micros:
        postings.check(wanted.opening)
    return wanted


def _package(given: pb.SetupPackage) -> WantedPackage:
    spkg_id = text("spkg_id", given.spkg_id, SPKG_MAX)
    key = ledger_messages.key(given.account), spkg_id
    name = text("name", given.name or spkg_id, NAME_MAX)
    numbers = given.total_capacity, given.capacity_daily
    package_moves.check_new(package_moves.NewPackage(key, name, *numbers, EXPIRES_NEVER))
    return WantedPackage(key, name, *numbers)


def _no_repeats(where: str, keys: Sequence[Any]) -> None:
    if len(set(keys)) != len(keys):
        raise FieldInvalid(where, "one is given twice")
