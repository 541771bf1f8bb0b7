"""Operators' settings of ChinaUMS developers and Dingdang domains; secrets by name only."""

from __future__ import annotations

from typing import Any

import msgspec

from shoudan_kit.audit_log.entries import describe
from shoudan_kit.secrets import named_secret
from shoudan_kit.service import App
from shoudan_pay.config import PaySettings
from shoudan_pay.platforms.store import callers
from shoudan_pay.platforms.store.callers import Domain, UmsApp
from shoudan_pay.refusals import FieldInvalid


async def set_app(app: App[PaySettings], given: UmsApp) -> None:
    """Replace the developer with this appId. Raises FieldInvalid."""
    _check_secrets(app.settings, given.secret_name, given.notify_secret_name)
    async with app.work("platforms_set") as work:
        before = await callers.set_app(work.db, given)
        describe("ums_app", given.app_id, _facts(before), _facts(given))


async def set_domain(app: App[PaySettings], given: Domain) -> None:
    """Replace the domain with this role and domainId. Raises FieldInvalid."""
    _check_secrets(app.settings, given.secret_name, given.own_secret_name)
    async with app.work("platforms_set") as work:
        before = await callers.set_domain(work.db, given)
        key = f"{given.role}/{given.domain_id}"
        describe("dingdang_domain", key, _facts(before), _facts(given))


def _facts(setting: UmsApp | Domain | None) -> dict[str, Any] | None:
    return None if setting is None else msgspec.structs.asdict(setting)


def _check_secrets(settings: PaySettings, *names: str) -> None:
    for name in names:
        if named_secret.is_demo_of(settings.profile, name, settings.secrets_dir):
            raise FieldInvalid("secret_name", f"{name}: {named_secret.REFUSED}")
