"""shoudan-protos as it is installed: whole, typed, with its .proto files, and of use by itself."""

from __future__ import annotations

import email
import importlib
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import hatchling.build
import pytest
from google.protobuf.descriptor import FieldDescriptor

from tests.test_tidy import ROOT

FOLDER = ROOT / "protos"
USED = """
import shoudan, sys
assert shoudan.__file__.startswith(sys.argv[1]), shoudan.__file__
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from shoudan.core.v1 import error_reason_pb2
from shoudan.order.v1 import order_service_pb2 as order, order_service_pb2_grpc
assert hasattr(order_service_pb2_grpc, "OrderServiceStub")
empty = order.GetOrderResponse()
assert not empty.HasField("order")
status = status_pb2.Status()
status.details.add().Pack(error_details_pb2.ErrorInfo(reason="ERROR_REASON_NOT_ALLOWED"))
assert error_reason_pb2.ErrorReason.Value("ERROR_REASON_NOT_ALLOWED") == 6
from shoudan.statuses import NotSet, status_of
assert status_of(order.OrderState(status=order.ORDER_STATUS_SUCCEEDED)) == 0
for unset in (empty.order.state, order.Refund(), order.OrderState.FromString(b"")):
    try:
        raise SystemExit(f"read as {status_of(unset)}")
    except NotSet:
        pass
print("used")
"""
SUCCESS = re.compile(r"_(SUCCEEDED|DONE)$")
# How something stands, without an enum. Those of HTTP, and of goods, have no success at 0.
STATUS = re.compile(r"^(?!http_)(\w+_)?status$|^result$")
NO_SUCCESS = {"shoudan.order.v1.GoodsOrder.order_status"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(FOLDER)
        return out / hatchling.build.build_wheel(str(out))


def test_it_has_its_types_its_readme_its_protos_and_what_a_refusal_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
        metadata = next(one for one in names if one.endswith("METADATA"))
        read = email.message_from_string(opened.read(metadata).decode())
    protos = {str(one.relative_to(FOLDER)) for one in (FOLDER / "shoudan").rglob("*.proto")}
    generated = {
        str(one.relative_to(FOLDER / "gen")) for one in (FOLDER / "gen").rglob("*_pb2*.py*")
    }
    generated = {one for one in generated if "__pycache__" not in one}
    assert len(protos) > 20
    assert protos | generated | {"shoudan/py.typed"} <= names
    required = {one.partition(">")[0] for one in read.get_all("Requires-Dist") or ()}
    assert required == {"googleapis-common-protos", "grpcio", "grpcio-status", "protobuf"}
    assert "0 is success" in read.get_payload()


def test_it_is_used_from_where_it_was_unpacked(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", USED, str(tmp_path)],
        env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "used\n"


def statuses() -> Iterator[FieldDescriptor]:
    """Every singular field of the contract whose 0 is success."""
    for path in sorted((FOLDER / "shoudan").rglob("*.proto")):
        name = path.relative_to(FOLDER).with_suffix("")
        module = importlib.import_module(".".join(name.parts) + "_pb2")
        waiting = list(module.DESCRIPTOR.message_types_by_name.values())
        while waiting:
            message = waiting.pop()
            waiting += message.nested_types
            for field in message.fields:
                enum = field.enum_type
                zero = enum.values_by_number[0].name if enum is not None else ""
                number = field.type == field.TYPE_INT32 and STATUS.search(field.name)
                if not field.is_repeated and (SUCCESS.search(zero) or number):
                    yield field


def test_no_status_that_was_never_set_reads_as_success() -> None:
    found = {one.full_name: one for one in statuses() if one.full_name not in NO_SUCCESS}
    assert len(found) >= 24
    assert [name for name, one in found.items() if not one.has_presence] == []
