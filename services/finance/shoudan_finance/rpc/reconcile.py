"""ReconcileService: messages to values and back."""

from __future__ import annotations

from typing import cast

from shoudan.finance.v1 import reconcile_service_pb2 as pb
from shoudan.finance.v1 import reconcile_service_pb2_grpc as pb_grpc
from shoudan_finance import reconciling
from shoudan_finance.context import Context
from shoudan_finance.refusals import FieldInvalid
from shoudan_finance.rpc.reading import before_of, page_size, person, source_of
from shoudan_finance.store.runs import Run
from shoudan_kit.rpc.messages import RpcContext, filled


class ReconcileServicer(pb_grpc.ReconcileServiceServicer):
    """The calls of ReconcileService."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def RunReconciliation(
        self, request: pb.RunReconciliationRequest, context: RpcContext
    ) -> pb.RunReconciliationResponse:
        """Have a source reconciled."""
        source = source_of(request.source)
        if not source:
            raise FieldInvalid("source", "is missing")
        found = await reconciling.ask(self._context, source, person(request.by))
        return pb.RunReconciliationResponse(run=_run(found))

    async def ListRuns(
        self, request: pb.ListRunsRequest, context: RpcContext
    ) -> pb.ListRunsResponse:
        """Runs, newest first."""
        most, before = page_size(request.page_size), before_of(request.page_token)
        source = source_of(request.source)
        found = await reconciling.page(self._context, source, before, most + 1)
        token = str(found[most - 1].run_id) if len(found) > most else ""
        return pb.ListRunsResponse(runs=map(_run, found[:most]), next_page_token=token)

    async def GetRun(self, request: pb.GetRunRequest, context: RpcContext) -> pb.GetRunResponse:
        """One run."""
        return pb.GetRunResponse(run=_run(await reconciling.get(self._context, request.run_id)))


def _run(one: Run) -> pb.Run:
    return filled(pb.Run, one, status=cast("pb.RunStatus.ValueType", int(one.status)))
