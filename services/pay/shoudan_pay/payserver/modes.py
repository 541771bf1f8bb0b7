"""Templates and modes of paying: what may be set of them, and what a change changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgspec
from sqlalchemy.exc import IntegrityError

from shoudan_kit import log
from shoudan_kit.db.errors import taken
from shoudan_kit.secrets import named_secret
from shoudan_kit.service import App
from shoudan_pay.config import PaySettings
from shoudan_pay.payserver import numbers
from shoudan_pay.payserver.components import SECRET_NAME, Components
from shoudan_pay.payserver.refusals import EnvCheckFailed, ResourceNotFound, TemplateNotFound
from shoudan_pay.payserver.store import modes as store
from shoudan_pay.payserver.store.modes import Mode, Template, Terms
from shoudan_pay.refusals import FieldInvalid

BARE: Final = Terms()
# What refusals call them.
URL_TERMS: Final = {
    "check_env_url": "checkEnvUrl",
    "pay_url": "payUrl",
    "refund_url": "refundUrl",
    "query_url": "queryUrl",
}

# What a caller gives, laid over the terms that are there.
Given: TypeAlias = Callable[[Terms], Terms]


@dataclass(frozen=True, slots=True)
class NewMode:
    """A requested mode; `href` is the link of its merchant."""

    uuid: str
    template_id: str
    merchant_uuid: str
    href: str
    fast: bool
    opened: bool
    ui_order: int


class Modes:
    """Each call is one transaction."""

    def __init__(self, app: App[PaySettings], components: Components) -> None:
        self._app, self._components = app, components

    async def register(
        self, template_id: str, uuid: str, given: Given, *, dry_run: bool
    ) -> tuple[Template | None, list[str]]:
        """Make the template, or give the one that exists these terms; what changes, one line each.

        With `dry_run` nothing is written and no template comes back. Raises FieldInvalid.
        """
        async with self._app.db.connect() as db:
            known = await store.template_by_id(db, template_id)
        terms = given(under(known))
        await check_terms(self._components, terms)
        changes = changes_of(known, terms)
        if dry_run:
            return None, changes
        asked = {template_id: (uuid_or_new(uuid), terms)}
        made = await self._register(asked, wanted=bool(uuid))
        if made is None:  # the same template, made at the same moment, is there now
            made = await self._register(asked, wanted=bool(uuid))
        if made is None:
            raise FieldInvalid("uuid", "belongs to another template")
        return made, changes

    async def create(self, new: NewMode, given: Given) -> Mode:
        """Of a template, or of its own; a template's environment check is called first.

        Raises TemplateNotFound, EnvCheckFailed, FieldInvalid.
        """
        uuid = uuid_or_new(new.uuid)
        terms, environment = await self._terms(given, new.template_id)
        if environment and new.opened:
            checked = await self._components.check_environment(
                environment, new.href or new.merchant_uuid
            )
            if not checked.agreed:
                raise EnvCheckFailed(new.template_id, checked.shown)
        now = self._app.clock.now()
        mode = Mode(
            id=0,
            uuid=uuid,
            template_id=new.template_id or None,
            merchant_uuid=new.merchant_uuid,
            merchant_href=new.href,
            fast=new.fast,
            opened=new.opened,
            ui_order=new.ui_order,
            create_time=now,
            modify_time=now,
            terms=terms,
        )
        async with self._app.work("payserver_modes") as work:
            made = await store.create(work.db, mode)
        if made is None:
            raise FieldInvalid("uuid", "belongs to another mode")
        return made

    async def update(
        self, caller: str, uuid: str, given: Given, changed: Mapping[str, Any]
    ) -> Mode:
        """Change what is set. Raises ResourceNotFound, for another merchant's, too, and FieldInvalid."""
        # Names are resolved here, before a row is locked.
        await check_terms(self._components, given(_ANY))
        async with self._app.work("payserver_modes") as work:
            mode = await store.lock(work.db, uuid)
            if mode is None or caller not in {"", mode.merchant_uuid}:
                raise ResourceNotFound(uuid[:64])
            terms = given(mode.terms)
            return await store.update(
                work.db, msgspec.structs.replace(mode, terms=terms, **changed)
            )

    async def _terms(self, given: Given, template_id: str) -> tuple[Terms, str]:
        """The terms of a new mode and the environment check of its template."""
        if not template_id:
            terms = given(BARE)
            await check_terms(self._components, terms)
            return terms, terms.check_env_url or ""
        async with self._app.db.connect() as db:
            template = await store.template_by_id(db, template_id)
        if template is None:
            raise TemplateNotFound(template_id)
        terms = given(template.terms)
        await check_terms(self._components, terms)
        return terms, template.terms.check_env_url or ""

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


# Under what a change gives, so that it alone is checked.
_ANY: Final = msgspec.structs.replace(BARE, name="-")


def under(known: Template | None) -> Terms:
    """What a template's terms are laid over: what is left out becomes empty, but not the secret's name."""
    secret = known.terms.secret_name if known is not None else ""
    return msgspec.structs.replace(BARE, secret_name=secret)


async def check_terms(components: Components, terms: Terms) -> None:
    """Refuse addresses that may not be called and names of other secrets."""
    for ours, theirs in URL_TERMS.items():
        await components.check_url(ours, theirs, getattr(terms, ours))
    if terms.secret_name and not SECRET_NAME.fullmatch(terms.secret_name):
        raise FieldInvalid("secretName", "does not begin with SHOUDAN_COMPONENT_")
    if terms.secret_name and components.is_demo(terms.secret_name):
        raise FieldInvalid("secretName", named_secret.REFUSED)


def uuid_or_new(wanted: str) -> str:
    """The one wanted, else a new one. Raises FieldInvalid."""
    uuid = wanted or numbers.new_uuid()
    if not (len(uuid) == numbers.UUID_CHARS and uuid.isascii() and uuid.isalnum()):
        raise FieldInvalid("uuid", "is not of 22 letters and digits")
    return uuid


def facts_of(
    known: Template | None, terms: Terms
) -> tuple[dict[str, object] | None, dict[str, object]]:
    """The terms that differ, as they were and as they are, for the audit log; all of a new template.

    Of the secret's name it says only that it differs.
    """
    was = None if known is None else _shown(known.terms)
    now = _shown(terms)
    differing = [
        n for n in store.TERMS if known is None or getattr(known.terms, n) != getattr(terms, n)
    ]
    return (
        None if was is None else {name: was[name] for name in differing},
        {name: now[name] for name in differing},
    )


def _shown(terms: Terms) -> dict[str, object]:
    made: dict[str, object] = msgspec.structs.asdict(terms)
    made["secret_name"] = log.MASK
    return made


def changes_of(known: Template | None, terms: Terms) -> list[str]:
    """The changes of a template's terms, one line each; without the secret's name."""
    if known is None:
        return ["new"]
    return [
        name if name == "secret_name" else f"{name} {getattr(terms, name)}"
        for name in store.TERMS
        if getattr(known.terms, name) != getattr(terms, name)
    ]
