"""The data dictionary (dds) for the web pages of operators: names of values, areas. Source: 000 dds.

Served on the internal listener only, because the rows of LineId, DownChannelNo and others name partners.
"""

from __future__ import annotations

from typing import Any, Final

from shoudan.order.v1 import dictionary_service_pb2 as pb
from shoudan_gateway.fields import Text
from shoudan_gateway.partners import oms
from shoudan_gateway.partners.oms import BOTH
from shoudan_gateway.protocol import (
    Endpoint,
    Failure,
    Field,
    Inbound,
    Malformed,
    Outbound,
    ParameterError,
    Partner,
    Unary,
    flat,
)

SERVICE: Final = "shoudan.order.v1.DictionaryService"
SOURCE: Final = "000 dds; docs/divergences.md"
DIC_TYPE: Final = Field("dic_type", "dic_type", "字典类型", Text(32))
PARENT: Final = Field("parent_code", "parent_code", "父级编号", Text(32), required=False)


def write_rows(answer: pb.GetDictionaryResponse, _: Inbound) -> Outbound:
    """A list of rows."""
    rows = [
        {"name": row.name, "value": row.value, "type": row.type, "sort_no": row.sort_no}
        for row in answer.rows
    ]
    return Outbound(200, rows)


def write_areas(answer: pb.ListAreasResponse, _: Inbound) -> Outbound:
    """A list of areas, under the names of the documented columns."""
    rows = [
        {
            "canton_code": area.canton_code,
            "chinese_name": area.chinese_name,
            "parent_code": area.parent_code,
            "grade": area.grade,
            "full_spell": area.full_spell,
            "simple_spell": area.simple_spell,
            "sort_id": area.sort_no,
        }
        for area in answer.areas
    ]
    return Outbound(200, rows)


def refuse(failure: Failure, request: Inbound, legacy: bool) -> Outbound:
    """A missing parameter is named without a prefix; all else is answered as to channels."""
    if isinstance(failure, Malformed) and failure.error is ParameterError.MISSING:
        return oms.error(406, 406, f"{failure.name}不能为空", legacy)
    return oms.refuse(failure, request, legacy)


def area_endpoint(
    path: str, title: str, fields: tuple[Field, ...] = (), **fixed: int
) -> Endpoint[Any, Any]:
    """The three differ in the grade alone."""
    return Endpoint(
        path=path,
        methods=BOTH,
        source=SOURCE,
        title=title,
        fields=fields,
        read=flat(pb.ListAreasRequest, fields, **fixed),
        call=Unary(f"{SERVICE}/ListAreas"),
        write=write_areas,
    )


PARTNER = Partner(
    name="dds",
    role="internal",
    refuse=refuse,
    endpoints=(
        Endpoint(
            path="/dds/dictionary/get",
            methods=BOTH,
            source=SOURCE,
            title="获取数据字典",
            fields=(DIC_TYPE,),
            read=flat(pb.GetDictionaryRequest, (DIC_TYPE,)),
            call=Unary(f"{SERVICE}/GetDictionary"),
            write=write_rows,
        ),
        area_endpoint("/dds/province/get", "获取省份", (PARENT,), grade=1),
        area_endpoint("/dds/city/get", "获取城市", (PARENT,), grade=2),
        area_endpoint("/dds/region/get", "获取省市区"),
    ),
)
