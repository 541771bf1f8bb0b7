"""Who may push: the list, and what a sender on it must show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import parse_qsl

from shoudan_erp_ingest.config import ErpSettings
from shoudan_erp_ingest.credential_kinds import SENDER
from shoudan_erp_ingest.refusals import SenderUnknown, SenderUnverified
from shoudan_erp_ingest.signatures import Scheme, verified
from shoudan_erp_ingest.tables.schema import REFUND, TRADE
from shoudan_kit.credentials.live import LiveSecrets
from shoudan_kit.rpc.refusal import Refusal

PARAMS_MAX = 64
SENDER_CHARS_SHOWN_MAX = 64


@dataclass(frozen=True, slots=True)
class Sender:
    """One entry of the list; outside of prod being on it is enough without scheme and networks."""

    scheme: Scheme | None = None
    secret: str = ""
    networks: tuple[IPv4Network | IPv6Network, ...] = ()


class Senders:
    """The list, by kind of push and name."""

    def __init__(self, settings: ErpSettings, stored: LiveSecrets) -> None:
        """`stored` are the senders' credentials: believed as the secrets of the settings are."""
        rules = settings.rules()
        self._stored = stored
        self._prod = settings.profile == "prod"

        def entry(name: str) -> Sender:
            rule = rules.get(name)
            if rule is None:
                return Sender()
            networks = tuple(ip_network(n, strict=False) for n in rule.networks)
            return Sender(Scheme(rule.scheme) if rule.scheme else None, rule.secret, networks)

        self._known: Mapping[tuple[int, str], Sender] = {
            **{(TRADE, name): entry(name) for name in settings.customers},
            **{(REFUND, name): entry(name) for name in settings.app_keys},
        }

    def refuse(
        self, kind: int, name: str, *, remote_ip: str, query: str, body: bytes
    ) -> Refusal | None:
        """Why a push is not taken; None when it is."""
        sender = self._known.get((kind, name))
        if sender is None:
            return SenderUnknown(name[:SENDER_CHARS_SHOWN_MAX])
        if self._prod and sender.scheme is None and not sender.networks:
            return SenderUnverified(name)  # a customer's name is no secret
        if sender.networks and not _inside(remote_ip, sender.networks):
            return SenderUnverified(name)
        if not self._proved(sender, name, query, body):
            return SenderUnverified(name)
        return None

    def _proved(self, sender: Sender, name: str, query: str, body: bytes) -> bool:
        """Whether a push is signed as its sender must sign; with a credential and no scheme none is."""
        stored = self._stored.of(SENDER.name, name)
        if sender.scheme is None:
            return not stored
        params = _params(query)
        if params is None:
            return False
        fits = [verified(sender.scheme, params, one.secret, body) for one in stored]
        # Every secret is tried, so that the time taken does not reveal which one fits.
        named = bool(sender.secret) and verified(sender.scheme, params, sender.secret, body)
        if True in fits:
            self._stored.use(stored[fits.index(True)].credential_id)
            return True
        return named


def _params(query: str) -> dict[str, str] | None:
    """The parameters that are signed; None when they cannot be read, or one comes twice."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=PARAMS_MAX)
    except ValueError:
        return None
    params = dict(pairs)
    return params if len(params) == len(pairs) else None


def _inside(remote_ip: str, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    try:
        address = ip_address(remote_ip)
    except ValueError:
        return False
    return any(address in network for network in networks)
