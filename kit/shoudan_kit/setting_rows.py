"""What the generated reference says of settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from shoudan_kit.config import Settings, variables_of


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One line of the generated reference."""

    name: str
    env: str
    type: str
    default: str
    description: str


def describe(cls: type[Settings], section: str = "") -> list[SettingRow]:
    """One row per setting, in the order declared: the generated reference is made of these."""
    return [
        SettingRow(
            name=name,
            env=variables_of(section, name)[0],
            type=_type_name(info.annotation),
            default=_default_text(info),
            description=info.description or "",
        )
        for name, info in cls.model_fields.items()
    ]


def _type_name(annotation: Any) -> str:
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__name__
    if get_origin(annotation) is Literal:
        return " | ".join(map(str, get_args(annotation)))
    return str(annotation).replace("typing.", "").replace(f"{Settings.__module__}.", "")


def _default_text(info: FieldInfo) -> str:
    default: Any = info.get_default(call_default_factory=True, validated_data={})
    if default is PydanticUndefined:
        return "(required)"
    return "" if default is None else str(default)
