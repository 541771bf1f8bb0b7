"""Statements on templates and modes of paying."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import Rows, literal, types
from shoudan_kit.db.text_statements import columns, statement, unnest
from shoudan_pay.payserver.states import TemplateStatus
from shoudan_pay.payserver.tables import PAY_MODE_TEMPLATE

LIST_MAX: Final = 1000
VALID_H: Final = 24


class Terms(msgspec.Struct, frozen=True):
    """What templates and modes have in common, in the order of their columns."""

    name: str = ""
    description: str | None = None
    check_env_url: str | None = None
    pay_url: str | None = None
    refund_url: str | None = None
    icon_href: str | None = None
    valid_h: int = VALID_H
    online: bool = False
    sign_account: bool = False
    async_notify: bool = False
    third_party: bool = False
    channel: str | None = None
    way: str | None = None
    query_url: str | None = None
    repeatable: bool = False
    secret_name: str = ""


class Template(msgspec.Struct, frozen=True):
    """One payModeTemplate."""

    id: int
    uuid: str
    template_id: str
    status: str
    create_time: datetime
    modify_time: datetime
    terms: Terms


class Mode(msgspec.Struct, frozen=True):
    """One PayMode of a merchant."""

    id: int
    uuid: str
    template_id: str | None
    merchant_uuid: str
    merchant_href: str
    fast: bool
    opened: bool
    ui_order: int
    create_time: datetime
    modify_time: datetime
    terms: Terms


class Usable(msgspec.Struct, frozen=True):
    """A mode with the terms that count when it is paid by: those of its template before its own."""

    mode: Mode
    terms: Terms


_TERMS: Final = Rows(Terms)
TERMS: Final = _TERMS.names
# What a mode keeps of its own when it has a template.
_OWN: Final = frozenset({"name", "description", "icon_href"})
TEMPLATE_HEAD: Final = Template.__struct_fields__[:-1]
MODE_HEAD: Final = Mode.__struct_fields__[:-1]
_TEMPLATE: Final = ", ".join(f"t.{name}" for name in (*TEMPLATE_HEAD, *TERMS))
_MODE: Final = ", ".join(f"m.{name}" for name in (*MODE_HEAD, *TERMS))
_OVERLAID: Final = ", ".join(
    f"m.{name} AS used_{name}"
    if name in _OWN
    else f"CASE WHEN t.template_id IS NULL THEN m.{name} ELSE t.{name} END AS used_{name}"
    for name in TERMS
)
_NAMES: Final = ", ".join(TERMS)
_BINDS: Final = ", ".join(f":{name}" for name in TERMS)
_REPLACED: Final = ", ".join(f"{name} = excluded.{name}" for name in TERMS)

_ENABLED: Final = literal(TemplateStatus.ENABLED)
_GIVEN: Final = types(PAY_MODE_TEMPLATE, "uuid", "template_id", *TERMS)

# id and createdAt of one that exists are kept, and its uuid unless another is wanted. In one order for
# all batches, so that two batches never wait for each other in a circle.
_REGISTER = statement(f"""
INSERT INTO pay_mode_template AS t (uuid, template_id, {_NAMES}, status, create_time, modify_time)
SELECT uuid, template_id, {_NAMES}, {_ENABLED}, shoudan_now(), shoudan_now()
FROM {unnest(**_GIVEN)} ORDER BY template_id
ON CONFLICT (template_id) DO UPDATE SET {_REPLACED}, modify_time = shoudan_now(),
    uuid = CASE WHEN :wanted THEN excluded.uuid ELSE t.uuid END
RETURNING {_TEMPLATE}
""")
_TEMPLATES_BY_ID = statement(f"""
SELECT {_TEMPLATE} FROM pay_mode_template t
WHERE t.template_id = ANY(CAST(:ids AS text[])) AND t.status = {_ENABLED}
""")
_CREATE = statement(f"""
INSERT INTO pay_mode AS m (uuid, template_id, merchant_uuid, merchant_href, fast, opened, ui_order,
    {_NAMES}, create_time, modify_time)
VALUES (:uuid, :template_id, :merchant_uuid, :merchant_href, :fast, :opened, :ui_order,
    {_BINDS}, shoudan_now(), shoudan_now())
ON CONFLICT (uuid) DO NOTHING RETURNING {_MODE}
""")
_UPDATE = statement(f"""
UPDATE pay_mode m SET ({_NAMES}, fast, opened, ui_order, modify_time) =
    ROW({_BINDS}, :fast, :opened, :ui_order, shoudan_now())
WHERE m.uuid = :uuid RETURNING {_MODE}
""")
_LOCK = statement(f"SELECT {_MODE} FROM pay_mode m WHERE m.uuid = :uuid FOR UPDATE")
_USABLE = statement(f"""
SELECT {_MODE}, {_OVERLAID} FROM pay_mode m
LEFT JOIN pay_mode_template t ON t.template_id = m.template_id
WHERE m.uuid = ANY(CAST(:uuids AS text[]))
""")
_UNOPENED = statement(f"""
SELECT {_TEMPLATE} FROM pay_mode_template t
WHERE t.status = {_ENABLED} AND NOT EXISTS (
    SELECT 1 FROM pay_mode m WHERE m.merchant_uuid = :merchant_uuid AND m.template_id = t.template_id)
ORDER BY t.id LIMIT :most
""")


def template_of(row: Any) -> Template:
    """A row of TEMPLATE_HEAD and TERMS, by name."""
    return Template(**{name: row[name] for name in TEMPLATE_HEAD}, terms=_TERMS.read(row))


def mode_of(row: Any) -> Mode:
    """A row of MODE_HEAD and TERMS, by name."""
    return Mode(**{name: row[name] for name in MODE_HEAD}, terms=_TERMS.read(row))


def _usable(row: Any) -> Usable:
    return Usable(mode_of(row), Terms(**{name: row[f"used_{name}"] for name in TERMS}))


async def register(
    db: AsyncConnection, given: Mapping[str, tuple[str, Terms]], *, wanted: bool = False
) -> list[Template]:
    """Make templates from (uuid, terms) by payTemplateId, or give those that exist these terms.

    Those that exist get the uuid, too, if it is `wanted`.
    """
    head = {"template_id": list(given), "uuid": [uuid for uuid, _ in given.values()]}
    binds = head | columns([terms for _, terms in given.values()], *TERMS)
    rows = (await db.execute(_REGISTER, {**binds, "wanted": wanted})).all()
    return [template_of(row) for row in rows]


async def templates_by_id(db: AsyncConnection, ids: Collection[str]) -> dict[str, Template]:
    """The enabled templates among these, by payTemplateId."""
    rows = (await db.execute(_TEMPLATES_BY_ID, {"ids": list(ids)})).all()
    return {one.template_id: one for one in map(template_of, rows)}


async def template_by_id(db: AsyncConnection, template_id: str) -> Template | None:
    """The enabled template."""
    return (await templates_by_id(db, [template_id])).get(template_id)


async def create(db: AsyncConnection, mode: Mode) -> Mode | None:
    """Write a new mode, None when its uuid is taken; its id and times are the database's."""
    row = (await db.execute(_CREATE, _mode_binds(mode))).one_or_none()
    return None if row is None else mode_of(row)


async def lock(db: AsyncConnection, uuid: str) -> Mode | None:
    """The mode, locked to the end of the transaction."""
    row = (await db.execute(_LOCK, {"uuid": uuid})).one_or_none()
    return None if row is None else mode_of(row)


async def update(db: AsyncConnection, mode: Mode) -> Mode:
    """Write what may change of a mode."""
    return mode_of((await db.execute(_UPDATE, _mode_binds(mode))).one())


async def usable(db: AsyncConnection, uuids: Collection[str]) -> dict[str, Usable]:
    """The modes that exist, whatever their state."""
    rows = (await db.execute(_USABLE, {"uuids": list(uuids)})).all()
    return {one.mode.uuid: one for one in map(_usable, rows)}


async def unopened(db: AsyncConnection, merchant_uuid: str) -> list[Template]:
    """The enabled templates the merchant has no mode of."""
    binds = {"merchant_uuid": merchant_uuid, "most": LIST_MAX}
    return [template_of(row) for row in (await db.execute(_UNOPENED, binds)).all()]


def _mode_binds(mode: Mode) -> dict[str, Any]:
    head = {name: getattr(mode, name) for name in MODE_HEAD[1:-2]}
    return head | msgspec.structs.asdict(mode.terms)
