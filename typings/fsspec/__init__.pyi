"""Types of what kit uses of fsspec, which has none of its own."""

from typing import Any

class AbstractFileSystem: ...

def url_to_fs(url: str, **options: Any) -> tuple[Any, str]: ...
