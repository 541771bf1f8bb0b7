"""One module per partner protocol; each defines PARTNER. Nothing else lists them."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from shoudan_gateway.protocol import Partner


def load() -> dict[str, Partner]:
    """Every PARTNER in this package, by name."""
    found = [import_module(f"{__name__}.{m.name}").PARTNER for m in iter_modules(__path__)]
    return {partner.name: partner for partner in found}
