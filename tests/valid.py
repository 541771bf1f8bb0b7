"""Requests that nothing but the database can answer: one for each method whose plainest request is
refused before it is asked."""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Callable
from typing import Any

from shoudan_delivery import stock
from shoudan_delivery.inbound import NotifyTokens
from shoudan_kit.secrets.sealing import KeyRing
from shoudan_kit.secrets.sealing_settings import DEMO_INDEX_KEY, DEMO_KEYS
from tests.delivery.test_notifies import SUPPLIER

Correct = Callable[[Any], object]
UUID = "u" * 22
PHONE = "13912345678"
ORDER_NO = 4_611_686_018_427_387_904


def _order(one: Any) -> None:
    one.Clear()
    one.channel_no, one.request_no, one.line_id, one.carrier_no = "test", "r1", 1, "ZSH"
    one.invoice_type, one.num, one.recharge_account = 1, 1, PHONE
    one.face_micros, one.amount_micros = 200_000_000, 198_000_000


def _period_of_list(one: Any) -> None:
    one.channel_no, one.page_token = "test", ""
    one.start_time.FromSeconds(1_764_000_000)
    one.end_time.FromSeconds(1_764_000_000 + 3_600)


def _period_of_survey(one: Any) -> None:
    one.parts = 4
    one.start_time.FromSeconds(1_764_000_000)
    one.end_time.FromSeconds(1_764_000_000 + 3_600)


def _requests_of_party(one: Any) -> None:
    one.party, one.page_token = "channel test", ""
    one.start_time.FromSeconds(1_764_000_000)
    one.end_time.FromSeconds(1_764_000_000 + 3_600)


def _goods_order(one: Any) -> None:
    one.Clear()
    one.channel_no, one.request_no, one.goods_no, one.goods_type = "test", "r1", "1", 1
    one.num, one.recharge_account, one.notify_url = 1, PHONE, "http://127.0.0.1/"


def _refund(one: Any) -> None:
    one.channel_no, one.notify_url = "test", "http://127.0.0.1/"
    one.nonce.nonce = "n" * 16


def _posting(one: Any) -> None:
    one.amount_micros, one.ext_no, one.void = 10, "", False


def _terms(message: Any) -> None:
    message.terms.Clear()
    message.terms.name = "n"


def _supplier(one: Any) -> None:
    one.request_url = one.notify_url = one.query_url = "http://127.0.0.1:9/"
    one.protocol, one.secret_name, one.service_class = "default", "", 10
    del one.error_codes[:]
    for code in (0, 10, 90):
        one.error_codes.add(error_code=f"R_{code}", deal_code=code)
    del one.notify_networks[:]
    one.ext_params.clear()


def _notify(message: Any) -> None:
    message.Clear()
    message.channel_no, message.service_class, message.method = "up", 10, "POST"
    url = NotifyTokens((b"demo-key-of-notify-tokens",)).url(SUPPLIER, ORDER_NO)
    message.query = url.partition("?")[2]
    message.body = b'{"order_no": "%d", "code": "R_0000"}' % ORDER_NO


def _push(one: Any) -> None:
    one.kind, one.sender, one.body = 1, "BudweiserTmall", b"{}"


def _phone(message: Any) -> None:
    message.filter.phone = PHONE
    if "page_token" in message.DESCRIPTOR.fields_by_name:
        message.page_token = ""


def _app(one: Any) -> None:
    one.source_id, one.base_url = "", ""


def _hold(one: Any) -> None:
    one.order_id = 1
    one.ClearField("start_time")


def _risk(one: Any) -> None:
    one.per, one.within, one.minutes, one.count_max = 1, 1, 0, 1


def _tried(one: Any) -> None:
    one.day, one.page_token, one.route_policy = "2026-01-31", "", "cheapest"
    one.route_weights.clear()
    one.route_terms.clear()


def _segments(one: Any) -> None:
    one.file = zlib.compress(b"segment,carrier_no,province_no\n1380013,ZSH,GD\n")


def _domain(one: Any) -> None:
    one.paid_url, one.refunded_url, one.base_url = "", "", ""


def _setup(message: Any) -> None:
    message.accounts[0].credit_micros = message.accounts[0].opening_micros = 10
    _terms(message.templates[0])


def _mode(message: Any) -> None:
    message.uuid, message.template_id = UUID, ""
    _terms(message)


def _pay(one: Any) -> None:
    one.amount_micros, one.params, one.extra_params = 10_000, b"", b""


def _moved(one: Any) -> None:
    one.amount_micros, one.extra_params = 10_000, b""


def _operator(message: Any) -> None:
    message.name, message.roles[:] = "eve", ["ops"]
    if "channels" in message.DESCRIPTOR.fields_by_name:
        del message.channels[:]  # an account of channels has no roles


def _cards(message: Any) -> None:
    ring = KeyRing.parse(DEMO_KEYS, DEMO_INDEX_KEY)
    public = stock.import_key(ring).public_key().public_bytes_raw()
    message.face_micros, message.file = 10, stock.encrypted(b"number\nN1\n", public)


def _entered(message: Any) -> None:
    ring = KeyRing.parse(DEMO_KEYS, DEMO_INDEX_KEY)
    public = stock.import_key(ring).public_key().public_bytes_raw()
    message.file = stock.encrypted(b"number\nN1\n", public)


def _listed(message: Any) -> None:
    message.channel_no, message.since_version, message.page_token = "test", 0, "c-1-0-0"


def _notify_prices(message: Any) -> None:
    message.Clear()
    message.channel_no, message.service_class, message.method = "trusted", 10, "POST"
    message.remote_ip = "192.0.2.1"
    message.body = b'{"products": [{"product": "p", "version": "1", "price": "1"}]}'


def _stated(message: Any) -> None:
    (one,) = message.prices
    one.Clear()
    one.channel_no, one.product, one.version, one.available = "up", "p", 1, True


def _of_endpoint(message: Any) -> None:
    """Of the endpoint that tests/test_every_field.py puts into the catalogue."""
    message.channel_no, message.endpoint_no = "test", "e1"
    names = set(message.DESCRIPTOR.fields_by_name)
    if "nonce" in names:  # each is used once
        message.nonce.nonce = secrets.token_hex(8)
    if "page_token" in names:
        message.ClearField("page_token")


# What is refused by what a process has in memory, whether the database is there or not.
REFUSED = {
    "SupplierService/CheckSupplierCall": "PERMISSION_DENIED",
    "SandboxService/SetSandboxScript": "FAILED_PRECONDITION",  # none is played here
    "SandboxService/ListSandboxLetters": "FAILED_PRECONDITION",
}

# What to change of the plainest request, by the method's name.
VALID: dict[str, Correct] = {
    "OrderService/CreateOrders": lambda m: _order(m.orders[0]),
    "OrderService/CheckOrders": lambda m: _order(m.orders[0]),
    "OrderService/CreateOrder": lambda m: _order(m.order),
    "OrderService/CreateRefunds": lambda m: _refund(m.refunds[0]),
    "AuditService/DecideAudit": lambda m: setattr(m, "status", 90),
    "DeliveryService/CreateDeliveries": lambda m: setattr(m.items[0], "face_micros", 10),
    "DeliveryService/ResolveDelivery": lambda m: setattr(m, "status", 90),
    "DeliveryService/TakeNotify": _notify,
    "DeliveryService/TakePrices": _notify_prices,
    "CatalogueService/ReportPrices": _stated,
    "SupplierService/ApplySuppliers": lambda m: _supplier(m.suppliers[0]),
    **dict.fromkeys(
        (
            "OrderService/FetchCards",
            "ChannelService/CancelOrder",
            "ChannelService/ResendChannelNotify",
        ),
        lambda m: m.nonce.Clear(),
    ),
    **dict.fromkeys(
        (
            "EndpointService/ListEndpointNotifies",
            "EndpointService/SetEndpointState",
            "EndpointService/TestEndpoint",
            "EndpointService/ResendEndpointNotifies",
        ),
        _of_endpoint,
    ),
    "OrderService/GetLifecycle": lambda m: setattr(m, "page_token", ""),
    "ChannelService/SendNotice": lambda m: (setattr(m, "key", "k"), setattr(m, "body", b"{}")),
    "LedgerService/ListAlerts": lambda m: setattr(m, "page_token", "1.1"),
    "AlertService/ListSent": lambda m: setattr(m, "page_token", "1.1.t"),
    "AlertService/TestTarget": lambda m: setattr(m, "target", "partner"),
    "CardService/FetchCards": lambda m: (setattr(m, "page_token", ""), setattr(m, "page_size", 1)),
    "AuditService/ListShelfNotifies": lambda m: setattr(m, "page_token", ""),
    "CardService/ListCards": lambda m: setattr(m, "page_token", ""),
    "CardService/ImportCards": _cards,
    "CardService/EnterCards": _entered,
    "CardService/SetCardState": lambda m: setattr(m, "status", 90),
    "AuditLogService/VerifyAuditLog": lambda m: (
        setattr(m, "page_token", ""),
        setattr(m, "shard", 0),
    ),
    "ErpService/IngestPushes": lambda m: _push(m.pushes[0]),
    "ErpService/SearchTrades": _phone,
    "ErpService/SearchRefunds": _phone,
    "ErpService/ExportTrades": _phone,
    "ErpService/ExportRefunds": _phone,
    "ErpService/EraseSubject": lambda m: setattr(m, "phone", PHONE),
    "LedgerService/PostEntries": lambda m: _posting(m.groups[0].postings[0]),
    "LedgerService/Post": lambda m: _posting(m.posting),
    "LedgerService/ListLedgerDays": lambda m: setattr(m, "page_token", "2026-11-20"),
    "LedgerService/ListAccountDays": lambda m: (
        setattr(m, "from_day", "2026-11-20"),
        setattr(m, "to_day", "2026-11-20"),
    ),
    "LedgerService/ExportAccountDays": lambda m: setattr(m, "day", "2026-11-20"),
    "AuditService/ListTrades": lambda m: (
        setattr(m, "up_channel_no", ""),
        setattr(m, "everyone", False),
        setattr(m, "day", "2026-11-20"),
        setattr(m, "page_token", "1795147200000000.1"),
    ),
    **dict.fromkeys(
        ("FinanceService/ListDays", "TradeService/ListTradeDays"),
        lambda m: setattr(m, "page_token", "2026-11-20"),
    ),
    **dict.fromkeys(
        (
            "FinanceService/GetDay",
            "FinanceService/ExportAccountDays",
            "FinanceService/ExportMovements",
            "FinanceService/RecheckDay",
            "TradeService/GetTradeDay",
            "TradeService/ExportTrades",
            "TradeService/RecheckTradeDay",
        ),
        lambda m: setattr(m, "day", "2026-11-20"),
    ),
    "StatementService/StorePart": lambda m: (
        setattr(m, "sha256", b"s" * 32),
        setattr(m, "part_no", 0),
    ),
    "StatementService/ImportStatement": lambda m: (
        setattr(m, "sha256", b"s" * 32),
        setattr(m, "template", "plain-csv"),
        setattr(m, "parts", 1),
        setattr(m, "supersedes", 0),
    ),
    **dict.fromkeys(
        ("ExceptionService/CommentException", "ExceptionService/AnswerDispute"),
        lambda m: setattr(m, "sha256", b""),
    ),
    "ExceptionService/CheckExceptionSheet": lambda m: (
        setattr(m, "sha256", b"s" * 32),
        setattr(m, "parts", 1),
    ),
    "ExceptionService/OpenDispute": lambda m: setattr(m, "deadline", "2026-11-20"),
    "BillService/MakeBill": lambda m: (
        m.Clear(),
        setattr(m, "kind", "fund"),
        setattr(m, "ident", "oms"),
        setattr(m, "eid", "test"),
        setattr(m, "first_day", "2026-11-20"),
    ),
    "BillService/GetBillLink": lambda m: (
        m.bill.Clear(),
        setattr(m.bill, "kind", "trade"),
        setattr(m.bill, "eid", "test"),
        setattr(m.bill, "first_day", "2026-11-20"),
        setattr(m, "link_s", 60),
    ),
    "BillService/GetChannelBillLink": lambda m: (
        m.bill.Clear(),
        setattr(m, "channel_no", "test"),
        setattr(m.bill, "kind", "trade"),
        setattr(m.bill, "first_day", "2026-11-20"),
    ),
    "BillService/GetSupplierBillLink": lambda m: (
        m.bill.Clear(),
        setattr(m.bill, "kind", "supply"),
        setattr(m.bill, "eid", "test"),
        setattr(m.bill, "first_day", "2026-11-20"),
    ),
    "BillService/DownloadBill": lambda m: setattr(m, "token", "t" * 43),
    **dict.fromkeys(
        ("BookService/ExportDebts", "BookService/ExportInvoices"),
        lambda m: setattr(m, "day", "2026-11-20"),
    ),
    **dict.fromkeys(
        (
            "BookService/ExportTrialBalance",
            "BookService/ExportIncome",
            "BookService/ExportLosses",
            "BookService/ClosePeriod",
            "BookService/ReopenPeriod",
        ),
        lambda m: (
            setattr(m, "first_day", "2026-11-20"),
            setattr(m, "last_day", "2026-11-20"),
            *(setattr(m, "by", "line") for _ in range("by" in m.DESCRIPTOR.fields_by_name)),
        ),
    ),
    "BookService/ListPeriods": lambda m: setattr(m, "page_token", "2026-11-20.2026-11-20"),
    "BillService/ListBills": lambda m: setattr(m, "page_token", "2026-11-20.1"),
    **dict.fromkeys(
        (
            "BillService/ListNotices",
            "BookService/ListReopenings",
            "StatementService/ListStatements",
            "ReconcileService/ListRuns",
            "ExceptionService/ListExceptions",
            "ExceptionService/ListDisputes",
        ),
        lambda m: setattr(m, "page_token", "7"),
    ),
    "LedgerService/CreatePackage": lambda m: setattr(m, "expires", ""),
    "LedgerService/VerifyAgainst": lambda m: m.Clear(),
    **dict.fromkeys(
        ("LedgerService/Verify", "LedgerService/SealLedger", "PersonalService/WalkAccounts"),
        lambda m: setattr(m, "shard", 0),
    ),
    "PaymentService/ListEndedPays": lambda m: (
        setattr(m, "day", "2026-11-20"),
        setattr(m, "page_token", ""),
    ),
    "PaymentService/CreateMode": _mode,
    "PaymentService/UpdateMode": _terms,
    "PaymentService/CreatePays": lambda m: _pay(m.items[0]),
    "PaymentService/CreateRefunds": lambda m: _moved(m.items[0]),
    "RetentionService/SetHold": lambda m: _hold(m.hold),
    "RiskService/SetRule": lambda m: _risk(m.rule),
    "CatalogueService/CheckRoute": _tried,
    "GoodsService/CreateGoodsOrders": lambda m: _goods_order(m.orders[0]),
    "GoodsService/SubscribeGoods": lambda m: setattr(m, "notify_url", "http://127.0.0.1/"),
    **dict.fromkeys(
        ("ChannelService/ListChannelOrders", "ChannelService/ListChannelRefunds"), _period_of_list
    ),
    "OrderService/GetSurvey": _period_of_survey,
    "RequestLogService/ListRequests": _requests_of_party,
    "RequestLogService/ListUsage": lambda m: (setattr(m, "days", 1), setattr(m, "page_token", "")),
    "CatalogueService/ImportSegments": _segments,
    "CatalogueService/ListProducts": _listed,
    "SetupService/ApplySetup": _setup,
    "PlatformService/SetUmsApp": lambda m: _app(m.app),
    "PlatformService/SetDomain": lambda m: _domain(m.domain),
}
# Methods that need no database, and what they answer from.
VALID.update(
    {
        **dict.fromkeys(
            ("IdentityService/Refresh", "IdentityService/Logout"),
            lambda m: setattr(m, "refresh_token", "1.a.b"),
        ),
        **dict.fromkeys(
            (
                "IdentityService/CreateOperator",
                "IdentityService/SetRoles",
                "IdentityService/CreateApiToken",
            ),
            _operator,
        ),
        "IdentityService/BeginProviderLogin": lambda m: setattr(
            m, "redirect_uri", "http://127.0.0.1:1/"
        ),
        "IdentityService/ChangePassword": lambda m: setattr(
            m, "new_password", "a new long password"
        ),
        "IdentityService/ListOperators": lambda m: setattr(m, "page_token", ""),
    }
)
WITHOUT = {
    "SandboxService/GetSandbox": "the sandbox alone",
    "IdentityService/PublishedKeys": "the keys of a moment ago",
    "DictionaryService/GetDictionary": "the columns of the code",
    "CardService/GetImportKey": "the key of this process",
    "DictionaryService/ListAreas": "the catalogue in memory",
    "OperationsService/ListResting": "what this process has seen of hosts",
    "LedgerService/GetStatementKeys": "the keys of this process",
    "GoodsService/GetGoodsApplication": "a setting",
    "StatementService/ListTemplates": "a file of the configuration",
    "AlertService/ListTargets": "a file of the configuration",
    "ChannelService/SendNotice": "the catalogue in memory",
}
