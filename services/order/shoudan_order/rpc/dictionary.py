"""DictionaryService: names of documented values, areas."""

from __future__ import annotations

from typing import Final

from shoudan.order.v1 import dictionary_service_pb2 as pb
from shoudan.order.v1 import dictionary_service_pb2_grpc as grpc_pb
from shoudan_kit.rpc.messages import RpcContext
from shoudan_order import dictionary
from shoudan_order.context import Context
from shoudan_order.refusals import FieldInvalid
from shoudan_order.rpc.messages import filled

CHARS_MAX: Final = 32
GRADE_MAX: Final = 3


class DictionaryServicer(grpc_pb.DictionaryServiceServicer):
    """The calls of DictionaryService."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def GetDictionary(
        self, request: pb.GetDictionaryRequest, context: RpcContext
    ) -> pb.GetDictionaryResponse:
        """The rows of one type."""
        if not request.dic_type or len(request.dic_type) > CHARS_MAX:
            raise FieldInvalid("dic_type", f"1 to {CHARS_MAX} characters")
        rows = await dictionary.of_type(self._context, request.dic_type)
        return pb.GetDictionaryResponse(rows=[filled(pb.DictionaryRow, row) for row in rows])

    async def ListAreas(
        self, request: pb.ListAreasRequest, context: RpcContext
    ) -> pb.ListAreasResponse:
        """Areas, filtered."""
        if not 0 <= request.grade <= GRADE_MAX:
            raise FieldInvalid("grade", f"0 to {GRADE_MAX}")
        found = dictionary.areas(self._context.catalogue, request.grade, request.parent_code)
        return pb.ListAreasResponse(
            areas=[
                filled(pb.Area, one, parent_code=one.parent, full_spell=one.spell, sort_no=place)
                for place, one in enumerate(found, 1)
            ]
        )
