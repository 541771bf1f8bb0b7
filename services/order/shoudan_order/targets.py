"""Where this service's commands find it: an option, the environment, or the usual port."""

from __future__ import annotations

from typing import Annotated, Final

import typer

DEFAULT_TARGET: Final = "127.0.0.1:50051"

Target = Annotated[
    str, typer.Option(help="gRPC address of the order service.", envvar="SHOUDAN_ORDER_TARGET")
]
