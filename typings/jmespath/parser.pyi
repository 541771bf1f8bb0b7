from typing import Any

class ParsedResult:
    parsed: dict[str, Any]
    def search(self, value: object) -> object: ...

class Parser:
    def parse(self, expression: str) -> ParsedResult: ...
