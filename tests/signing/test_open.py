"""OPEN-BODY-SIG, OPEN-FORM-PARAM, OPEN-ACCESS-TOKEN and the key signature: the published vectors hold."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from urllib.parse import parse_qsl

import pytest

from shoudan_signing import key_signature, open_access_token, open_body_sig
from shoudan_signing.authorization import parse, same
from tests.conformance import body_of, header_of

APP_ID = "12345678901234567890123456789012"
APP_KEY = "67890123456789012345678901234567"
NONCE = "99930a147f5353dd8a8f29a5329f37e9"
COMMUNICATION_KEY = "fcAmtnx7MwismjWNhNKdHC44mNXtnEQeJkRrhKJwyrW2ysRR"
OFFICIAL = {
    "billDate": "2017-06-26",
    "billNo": "31940000201700002",
    "goods": '[{"body":"微信二维码测试","price":"1","goodsName":"微信二维码测试","goodsId":"1",'
    '"quantity":"1","goodsCategory":"TEST"}]',
    "instMid": "QRPAYDEFAULT",
    "mid": "898340149000005",
    "msgSrc": "WWW.TEST.COM",
    "msgType": "bills.getQRCode",
    "requestTimestamp": "2017-06-26 17:28:02",
    "tid": "88880001",
    "totalAmount": "1",
    "walletOption": "SINGLE",
}
REFUND_NOTIFY = {
    "attachedData": "",
    "instMid": "APPDEFAULT",
    "merOrderId": "124S2023071900000001",
    "mid": "898310148160568",
    "notifyId": "9d1f2a6c-0001",
    "payTime": "2022-04-15 10:47:59",
    "refundAmount": "12400",
    "refundOrderId": "124S2023071980881897",
    "rnd7Qk": "a8Zt",
    "seqId": "35316064757N",
    "settleDate": "2022-04-15",
    "status": "TRADE_REFUND",
    "targetOrderId": "50101006412023071920552876171",
    "targetSys": "WXPay",
    "tid": "88880001",
    "totalAmount": "12400",
}


@pytest.mark.parametrize(
    ("stamp", "nonce", "body", "signature"),
    [
        (
            "20170101120000",
            "09876543210987654321098765432109",
            b"A",
            "GINsCTyNKTpEI9KXO16KqZJ64fOyAytEKl8aaR/Dy08=",
        ),
        (
            "20220415104759",
            NONCE,
            body_of("003-refund-query"),
            "wk85joaGTw67mQDVMlRYAxDWyc6o6NncfWZ+UOuXvPE=",
        ),
        ("20220415104000", NONCE, b"", "Dkjaq5zeKlf2/sx0gRVKAR4iHp3PRJS3I6zmthynPts="),
        (
            "20220415104000",
            NONCE,
            '{"a":"中文"}'.encode(),
            "zSEYuPDmostRMZQDqdna5NN2LnKMY8OTMLx33OsN+eE=",
        ),
    ],
    ids=["official", "seed body", "empty body", "utf-8 body"],
)
def test_open_body_sig_gives_the_published_signature(
    stamp: str, nonce: str, body: bytes, signature: str
) -> None:
    assert open_body_sig.sign(APP_ID, APP_KEY, stamp, nonce, body) == signature


def test_the_hash_of_the_official_body_is_the_published_one() -> None:
    digest = "559aead08264d5795d3909718cdd05abd49572e84fe55590eef31a88a08fdffd"
    assert hashlib.sha256(b"A").hexdigest() == digest
    seed = "380992cb97655133a5fd47553e11485eabc9ec3713681052122ef2afd5a48d33"
    assert hashlib.sha256(body_of("003-refund-query")).hexdigest() == seed


@pytest.mark.parametrize("between", [",", ", ", " ,  "])
def test_a_header_is_read_with_and_without_blanks(between: str) -> None:
    text = header_of("003-refund-query").replace(",", between)
    given = open_body_sig.read(text)
    assert given is not None
    assert given.nonce == NONCE
    assert open_body_sig.right(given, APP_KEY, body_of("003-refund-query"))


def test_the_header_made_is_the_header_read() -> None:
    made = open_body_sig.header(APP_ID, APP_KEY, "20220415104000", NONCE, b"{}")
    given = open_body_sig.read(made)
    assert given is not None
    assert open_body_sig.right(given, APP_KEY, b"{}")
    assert not open_body_sig.right(given, APP_KEY, b"{ }")
    assert not open_body_sig.right(given, APP_KEY[::-1], b"{}")


def test_loose_base64_is_wrong() -> None:
    given = open_body_sig.read(header_of("003-refund-query").replace("vPE=", "vPF="))
    assert given is not None
    assert not open_body_sig.right(given, APP_KEY, body_of("003-refund-query"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "OPEN-BODY-SIG",
        'OPEN-BODY-SIG AppId="a"',
        'Bearer AppId="a", Timestamp="1", Nonce="n", Signature="s"',
        'OPEN-BODY-SIG AppId="a", AppId="b", Timestamp="1", Nonce="n", Signature="s"',
        'OPEN-BODY-SIG AppId="a" Timestamp="1", Nonce="n", Signature="s"',
        'OPEN-BODY-SIG AppId="é", Timestamp="1", Nonce="n", Signature="s"',
        'OPEN-BODY-SIG AppId="a", Timestamp="1", Nonce="n", Signature=""',
        f'OPEN-BODY-SIG AppId="a", Timestamp="1", Nonce="{"n" * 129}", Signature="s"',
        f'OPEN-BODY-SIG AppId="{"a" * 3000}", Timestamp="1", Nonce="n", Signature="s"',
    ],
)
def test_a_malformed_header_is_no_claim(text: str) -> None:
    assert open_body_sig.read(text) is None


def test_names_count_in_any_case() -> None:
    claim = parse("X-Y appid=1, APPID2=2")
    assert claim is not None
    assert (claim.get("AppId"), claim.get("appId2")) == ("1", "2")


def test_stamps_are_beijing_time() -> None:
    moment = datetime(2022, 4, 15, 2, 47, 59, tzinfo=UTC)
    assert open_body_sig.stamp(moment) == "20220415104759"
    assert open_body_sig.moment_of("20220415104759") == moment
    assert open_body_sig.moment_of("2022041510475") is None
    assert open_body_sig.moment_of("20221315104759") is None


def test_a_browser_jump_is_signed_raw_and_encoded_with_plus() -> None:
    content = '{"requestTimestamp":"2022-04-15 10:47:59","mid":"898310148160568"}'
    query = open_body_sig.form_query(APP_ID, APP_KEY, "20220415104759", NONCE, content)
    assert "signature=DCyxSHOWfi5W1WjOp85xaLF5%2Frgfr7NRLSQGkYe5g%2FA%3D" in query
    assert "2022-04-15+10%3A47%3A59" in query
    assert query.startswith("authorization=OPEN-FORM-PARAM&appId=")


@pytest.mark.parametrize(
    ("method", "signature"),
    [
        ("SHA256", "ba6969afe1c10f6b481e5fd2d072cc46d8b1f4216dbf7a9baa473d31ddca1414"),
        ("", "dc79b3045a16cf6bac2b0579bda2cf13ae623348"),
    ],
)
def test_open_access_token_gives_the_published_signature(method: str, signature: str) -> None:
    made = open_access_token.sign(APP_ID, APP_KEY, "20220415104759", NONCE, method)
    assert made == signature


def test_an_unknown_method_is_wrong() -> None:
    made = open_access_token.sign(APP_ID, APP_KEY, "20220415104759", NONCE)
    right = open_access_token.right
    assert right(made.upper(), APP_ID, APP_KEY, "20220415104759", NONCE, "sha256")
    assert not right(made, APP_ID, APP_KEY, "20220415104759", NONCE, "MD4")


@pytest.mark.parametrize(
    "text", ['OPEN-ACCESS-TOKEN AccessToken="abc"', "OPEN-ACCESS-TOKEN AccessToken=abc"]
)
def test_a_token_is_read_quoted_or_not(text: str) -> None:
    assert open_access_token.read(text) == "abc"
    assert open_access_token.read(open_access_token.header("abc")) == "abc"
    assert open_access_token.read("Bearer AccessToken=abc") is None


def test_the_key_signature_gives_the_official_hashes() -> None:
    sha256 = "a9eced8dd8425d1fc4047cf94e672c69ed1073557ee831c51287341cfab0b21f"
    assert key_signature.sign(OFFICIAL, COMMUNICATION_KEY, "SHA256") == sha256.upper()
    md5 = "57F81BAF8E3BAE1190B26D6C733038AF"
    assert key_signature.sign(OFFICIAL, COMMUNICATION_KEY, "MD5") == md5


@pytest.mark.parametrize(
    ("extra", "signature"),
    [
        ({}, "C1EF6D482E012B1F41B23D800AD73E99"),
        ({"signType": "MD5"}, "5336EB373BB20C0D587D9EF27158B2AD"),
        (
            {"signType": "SHA256"},
            "ECAD8CBD244C6FF903EE4799AAA1F37AA51A8EC91D3A79F0837A9491EDE4A236",
        ),
    ],
)
def test_a_refund_notify_is_verified(extra: dict[str, str], signature: str) -> None:
    message = REFUND_NOTIFY | extra
    assert key_signature.right(message | {"sign": signature}, COMMUNICATION_KEY)
    assert key_signature.right(message | {"sign": signature.lower()}, COMMUNICATION_KEY)
    assert not key_signature.right(message | {"sign": signature[::-1]}, COMMUNICATION_KEY)
    changed = message | {"refundAmount": "12401", "sign": signature}
    assert not key_signature.right(changed, COMMUNICATION_KEY)
    assert not key_signature.right(message, COMMUNICATION_KEY)


def test_without_a_type_the_length_decides() -> None:
    made = key_signature.sign(REFUND_NOTIFY, COMMUNICATION_KEY, "SHA256")
    assert key_signature.right(REFUND_NOTIFY | {"sign": made}, COMMUNICATION_KEY)
    assert key_signature.kind_of({"signType": "RSA2"}) is None


def test_each_value_of_a_header_is_needed_and_the_longest_are_taken() -> None:
    values = {"AppId": "a" * 64, "Timestamp": "1", "Nonce": "n" * 128, "Signature": "s"}

    def header(**changes: str) -> str:
        return "OPEN-BODY-SIG " + ", ".join(f'{k}="{v}"' for k, v in (values | changes).items())

    assert open_body_sig.read(header()) is not None
    for name in values:
        assert open_body_sig.read(header(**{name: ""})) is None
    assert open_body_sig.read(header(AppId="a" * 65)) is None


def test_a_header_may_be_as_long_as_that_and_no_longer() -> None:
    longest = f'X a="{"b" * 2_042}"'
    assert len(longest) == 2_048
    assert parse(longest) is not None
    assert parse(longest + " ") is None
    assert parse("X") is None


def test_what_is_no_text_fits_nothing() -> None:
    assert not same("\ud800", "?x")


@pytest.mark.parametrize("text", ["2022041510475x", "２0220415104759", "2022-4-15 0:0:"])
def test_a_stamp_has_ascii_digits_alone(text: str) -> None:
    assert len(text) == 14
    assert open_body_sig.moment_of(text) is None


def test_a_browser_jump_carries_what_was_signed() -> None:
    query = open_body_sig.form_query(APP_ID, APP_KEY, "20220415104759", NONCE, "{}")
    given = dict(parse_qsl(query))
    signature = open_body_sig.sign(APP_ID, APP_KEY, "20220415104759", NONCE, b"{}")
    assert given == {
        "authorization": "OPEN-FORM-PARAM",
        "appId": APP_ID,
        "timestamp": "20220415104759",
        "nonce": NONCE,
        "content": "{}",
        "signature": signature,
    }


def test_another_hash_is_no_access_signature() -> None:
    given = (APP_ID, APP_KEY, "20220415104759", NONCE)
    right = open_access_token.right
    assert right(open_access_token.sign(*given, "SHA1"), *given, "sha1")
    assert not right("0" * 64, *given, "SHA256")
    assert not right(open_access_token.sign(*given, "SHA1"), *given, "SHA256")
    assert not right("", *given, "")


@pytest.mark.parametrize("text", ["", "OPEN-ACCESS-TOKEN", 'OPEN-ACCESS-TOKEN AccessToken=""'])
def test_a_header_without_a_token_has_none(text: str) -> None:
    assert open_access_token.read(text) is None


def test_a_type_that_is_not_known_is_wrong_whatever_the_signature() -> None:
    message = REFUND_NOTIFY | {"signType": "RSA2"}
    for kind in ("SHA256", "MD5"):
        made = key_signature.sign(message, COMMUNICATION_KEY, kind)
        assert not key_signature.right(message | {"sign": made}, COMMUNICATION_KEY)


def test_which_hash_a_message_uses() -> None:
    assert key_signature.kind_of({"signType": "sha256"}) == "SHA256"
    assert key_signature.kind_of({"sign": "0" * 64}) == "SHA256"
    assert key_signature.kind_of({"sign": "0" * 32}) == "MD5"
