"""What signs in the collections of Postman and Bruno signs as the gateway verifies.

Collected where a node is installed; elsewhere the head of the run says that it is not.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import pytest

from shoudan_signing import channel
from tests.gateway.node import ran
from tools import partner_bruno, partner_postman

# What the two programs give a script, as far as ours use it.
HOSTS: Final = """
const vm = require('vm'), crypto = require('crypto');
const words = (hex) => ({ toString: () => hex });
const CryptoJS = {
  SHA256: (text) => words(crypto.createHash('sha256').update(text).digest('hex')),
  HmacSHA256: (text, key) => words(crypto.createHmac('sha256', key).update(text).digest('hex')),
  lib: { WordArray: { random: (size) => words(crypto.randomBytes(size).toString('hex')) } },
};
const { code, query, secret } = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const host = 'http://a.example', path = '/order/query';
let sent = '{{base}}' + path + (query ? '?' + query : '');
const bru = { getEnvVar: () => secret, interpolate: (text) => text.replace('{{base}}', host) };
const req = { getUrl: () => sent, getMethod: () => 'GET', setUrl: (one) => { sent = one; } };
let rows = query.split('&').filter((one) => one).map((one) => one.split('='));
rows = rows.map(([key, value]) => ({ key, value }));
const url = { getPath: () => path, query: {
  all: () => rows, add: (one) => rows.push(one),
  remove: (key) => { rows = rows.filter((one) => one.key !== key); },
} };
const pm = { variables: { get: () => secret }, request: { url, method: 'GET' } };
const known = { bru, req, pm, CryptoJS, require: () => CryptoJS, encodeURIComponent, decodeURIComponent };
vm.runInNewContext(code, known);
const added = rows.map((one) => one.key + '=' + one.value).join('&');
console.log(code.includes('pm.') ? host + path + '?' + added : sent);
"""
OURS: Final = {"sign", "sign_type", "timestamp", "nonce"}


@pytest.mark.parametrize("code", [partner_bruno.SIGNER, partner_postman.SIGNER], ids=["bru", "pm"])
@pytest.mark.parametrize(
    "query", ["", "channel_no=test&note=a%20b%2F%E4%B8%AD'(!)&sign=old&nonce=b"]
)
def test_a_collection_signs_as_the_gateway_verifies(code: str, query: str) -> None:
    sent = urlsplit(ran(HOSTS, {"code": code, "query": query, "secret": "k1"}))
    params = dict(parse_qsl(sent.query))
    assert (sent.netloc, sent.path) == ("a.example", "/order/query")
    signature = params.pop("sign")
    assert signature == channel.hmac_v2_sign("GET", sent.path, params, b"", b"k1")
    given = dict(parse_qsl(query))
    assert {name: params[name] for name in given.keys() - OURS} == {
        name: given[name] for name in given.keys() - OURS
    }
    assert params["sign_type"] == "HMAC-SHA256-V2"
    assert re.fullmatch(r"[0-9a-f]{32}", params["nonce"])
    assert params["nonce"] != given.get("nonce")


def test_without_a_secret_nothing_is_changed() -> None:
    asked = {"code": partner_bruno.SIGNER, "query": "a=1", "secret": ""}
    assert ran(HOSTS, asked) == "{{base}}/order/query?a=1"
