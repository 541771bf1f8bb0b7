"""The sub-commands of `shoudan` that the order service brings along."""

from __future__ import annotations

from typing import Final

from shoudan_kit.command_list import Command

ORDER: Final = Command(
    "shoudan_order.commands:order",
    "Orders: show one whole, list parked ones, pause, resume.",
)
AUDIT: Final = Command(
    "shoudan_order.commands:audit",
    "What waits for a person: list, decide, retry.",
)
NOTIFY: Final = Command(
    "shoudan_order.commands:notify",
    "Notifies that were given up: list, send again.",
)
RISK: Final = Command(
    "shoudan_order.risk_commands:app",
    "Risk: rules that bound new orders, blocked accounts.",
)
ROUTE: Final = Command(
    "shoudan_order.route_commands:app",
    "Routes: why a supplier was chosen, what another policy would choose.",
)
SEGMENTS: Final = Command(
    "shoudan_order.segment_commands:app",
    "Number segments: import, list, find the carrier and province of a number.",
)
HOLD: Final = Command(
    "shoudan_order.hold_commands:app",
    "Holds: orders that stay in the database whatever their age.",
)
REQUEST: Final = Command(
    "shoudan_order.request_commands:app",
    "Requests of partners: what was called, answered and refused, by id.",
)
ENDPOINT: Final = Command(
    "shoudan_order.endpoint_commands:app",
    "Endpoints of channels: where they are sent what happens, how that goes, pause, test, send again.",
)
REPORT: Final = Command(
    "shoudan_order.report_commands:app",
    "Reports: profit, by supplier, by channel.",
)
