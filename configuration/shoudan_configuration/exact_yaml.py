"""YAML as the catalogue's files need it: decimals as they are written, no key twice."""

from __future__ import annotations

from typing import Any, cast

import yaml


class Loader(yaml.SafeLoader):
    """Safe, with decimals kept as their text (0.99 is a rate, not a float) and repeated keys refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names: list[str] = [key.value for key, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                mark = node.start_mark
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {name} stands twice", mark
                )
        return super().construct_mapping(node, deep)


def _as_text(loader: yaml.SafeLoader, node: yaml.Node) -> str:
    return str(loader.construct_scalar(cast("yaml.ScalarNode", node)))


for _tag in ("float", "timestamp"):
    Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _as_text)
