"""Types of the two calls of grpc_status that kit uses.

The published stubs drag in a dead package that overwrites types-grpcio.
"""

import grpc
from google.rpc import status_pb2

class _RichStatus(grpc.Status):
    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, bytes], ...]

def from_call(call: grpc.Call) -> status_pb2.Status | None: ...
def to_status(status: status_pb2.Status) -> _RichStatus: ...
