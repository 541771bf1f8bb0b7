"""Renders deploy/kubernetes as kustomize does, as far as its files use it: CI has no kustomize."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any, TypeAlias

import yaml

Manifest: TypeAlias = dict[str, Any]

# What a kustomization here may say; anything else must be rendered before it may be written.
KNOWN = {
    *("apiVersion", "kind", "namespace", "resources", "images", "replicas"),
    *("generatorOptions", "configMapGenerator", "patches"),
}
CLUSTER_WIDE = {"Namespace", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}


def rendered(folder: Path) -> list[Manifest]:
    """Every manifest of a kustomization."""
    said: Manifest = yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))
    assert set(said) <= KNOWN, f"{folder.name}: {sorted(set(said) - KNOWN)} is not rendered"
    found = [one for name in said.get("resources", []) for one in _resource(folder / name)]
    for one in said.get("configMapGenerator", []):
        _generate(found, folder, one)
    for one in found:
        if one["kind"] not in CLUSTER_WIDE and "namespace" in said:
            one["metadata"]["namespace"] = said["namespace"]
    for patch in said.get("patches", []):
        _patch(found, patch)
    for one in said.get("replicas", []):
        named = [
            m
            for m in found
            if m["metadata"]["name"] == one["name"] and "replicas" in m.get("spec", {})
        ]
        assert named, f"no replicas of {one['name']}"
        for manifest in named:
            manifest["spec"]["replicas"] = one["count"]
    for container in (c for one in found for c in containers(one)):
        for image in said.get("images", []):
            if container["image"] == image["name"]:
                container["image"] = f"{image['newName']}:{image['newTag']}"
    return found


def _resource(path: Path) -> list[Manifest]:
    if path.is_dir():
        return rendered(path)
    return [one for one in yaml.safe_load_all(path.read_text("utf-8")) if one is not None]


def _generate(found: list[Manifest], folder: Path, said: Manifest) -> None:
    data = {name: (folder / name).read_text("utf-8") for name in said["files"]}
    if said.get("behavior") == "merge":
        (there,) = (
            m for m in found if m["kind"] == "ConfigMap" and m["metadata"]["name"] == said["name"]
        )
        there["data"] |= data
        return
    metadata = {"name": said["name"]}
    found.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def _patch(found: list[Manifest], said: Manifest) -> None:
    """JSON 6902; a path that is not there is a mistake, as it is for kustomize."""
    target = said["target"]
    chosen = [
        one
        for one in found
        if one["kind"] == target["kind"]
        and re.fullmatch(target.get("name", ".*"), one["metadata"]["name"])
    ]
    assert chosen, f"a patch has no target: {target}"
    for manifest in chosen:
        for step in yaml.safe_load(said["patch"]):
            _step(manifest, step)


def _step(manifest: Manifest, step: Manifest) -> None:
    *above, last = step["path"].removeprefix("/").split("/")
    place: Any = manifest
    for key in above:
        place = place[int(key)] if isinstance(place, list) else place[key]
    key = int(last) if isinstance(place, list) else last
    if step["op"] != "add":
        assert key in place if isinstance(place, dict) else key < len(place), step["path"]
    if step["op"] == "remove":
        del place[key]
    else:
        place[key] = copy.deepcopy(step["value"])


def pod_of(manifest: Manifest) -> Manifest | None:
    """The pod's spec of what makes pods."""
    spec: Manifest = manifest.get("spec", {})
    if manifest["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    if manifest["kind"] in {"CronJob", "Deployment", "StatefulSet"}:
        return spec["template"]["spec"]
    return None


def containers(manifest: Manifest) -> list[Manifest]:
    """Its containers; none where it makes no pods."""
    pod = pod_of(manifest)
    return [] if pod is None else [*pod.get("initContainers", []), *pod["containers"]]
