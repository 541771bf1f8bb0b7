"""The dictionary by HTTP on the internal listener: enums, the demonstration's rows and areas, accounts."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = pytest.mark.system


async def call(partner: Any, path: str, **params: str) -> tuple[int, Any]:
    async with partner.http.get(partner.system.internal_url + path, params=params) as answer:
        return answer.status, json.loads(await answer.text())


async def test_operators_get_names_for_every_number(partner) -> None:
    status, rows = await call(partner, "/dds/dictionary/get", dic_type="OrderStatus")
    assert status == 200
    assert rows[0] == {"name": "成功", "value": "0", "type": "OrderStatus", "sort_no": 1}
    _, lines = await call(partner, "/dds/dictionary/get", dic_type="LineId")
    assert {"name": "加油卡充值", "value": "1", "type": "LineId", "sort_no": 1} in lines
    _, accounts = await call(partner, "/dds/dictionary/get", dic_type="AccountId")
    assert "测试渠道渠道账户" in {one["name"] for one in accounts}
    status, refused = await call(partner, "/dds/dictionary/get")
    assert (status, refused["message"]) == (406, "dic_type不能为空")


async def test_areas_are_those_of_the_catalogue(partner) -> None:
    _, provinces = await call(partner, "/dds/province/get")
    assert {"CQ", "SC"} <= {one["canton_code"] for one in provinces}
    _, cities = await call(partner, "/dds/city/get", parent_code="SC")
    assert [one["chinese_name"] for one in cities] == ["成都", "绵阳"]
    _, regions = await call(partner, "/dds/region/get")
    assert {one["grade"] for one in regions} == {1, 2, 3}
