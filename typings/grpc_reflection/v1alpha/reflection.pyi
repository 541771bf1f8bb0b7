"""The library's servicer of the reflection protocol."""

from collections.abc import Iterable
from typing import Final

class aio:
    class ReflectionServicer:
        def __init__(self, service_names: Iterable[str]) -> None: ...

SERVICE_NAME: Final[str]
