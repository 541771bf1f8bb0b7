"""Registration of the reflection protocol."""

from collections.abc import Callable

add_ServerReflectionServicer_to_server: Callable[[object, object], None]
