"""Render an overlay as `kubectl kustomize` does, for the few features that the manifests use.

resources, namespace, labels (without selectors), images, and JSON patches by kind and name. Any other
key of a kustomization is refused, so that nothing is rendered that is not understood here.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]

_KEYS = {"apiVersion", "kind", "resources", "namespace", "labels", "images", "patches"}
_WITHOUT_NAMESPACE = {"Namespace"}


def render(folder: Path) -> list[Manifest]:
    """Return the objects of a folder with a kustomization.yaml.

    Raises:
        ValueError: a kustomization asks for what is not known here, or a patch finds nothing.
    """
    wanted = yaml.safe_load((folder / "kustomization.yaml").read_text())
    if unknown := wanted.keys() - _KEYS:
        raise ValueError(f"{folder}: {sorted(unknown)}")
    found = [one for name in wanted["resources"] for one in _resources((folder / name).resolve())]
    for patch in wanted.get("patches", []):
        _patch(found, patch)
    for one in found:
        for label in wanted.get("labels", []):
            _label(one, label)
        if (namespace := wanted.get("namespace")) and one["kind"] not in _WITHOUT_NAMESPACE:
            one["metadata"]["namespace"] = namespace
        for image in wanted.get("images", []):
            _rename(one, image)
    return found


def _resources(path: Path) -> list[Manifest]:
    if path.is_dir():
        return render(path)
    # Written anew, since YAML's anchors share their objects.
    return [copy.deepcopy(one) for one in yaml.safe_load_all(path.read_text()) if one]


def _patch(found: list[Manifest], patch: dict[str, Any]) -> None:
    if patch.keys() != {"target", "patch"} or patch["target"].keys() != {"kind", "name"}:
        raise ValueError(f"not known: {patch}")
    kind, name = patch["target"]["kind"], patch["target"]["name"]
    targets = [one for one in found if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    if not targets:
        raise ValueError(f"there is no {kind} {name}")
    for operation in yaml.safe_load(patch["patch"]):
        for target in targets:
            _apply(target, operation)


def _apply(target: Any, operation: dict[str, Any]) -> None:
    """Apply one operation of RFC 6902."""
    *way, last = operation["path"].removeprefix("/").split("/")
    for step in way:
        target = target[int(step)] if isinstance(target, list) else target[step]
    if isinstance(target, list) and operation["op"] == "add" and last == "-":
        target.append(operation["value"])
        return
    place = int(last) if isinstance(target, list) else last
    if operation["op"] == "replace":
        target[place]
        target[place] = operation["value"]
    else:
        raise ValueError(f"not known: {operation}")


def _label(one: Manifest, label: dict[str, Any]) -> None:
    if label.keys() != {"pairs"}:
        raise ValueError(f"not known: {label}")
    one["metadata"].setdefault("labels", {}).update(label["pairs"])


def _rename(part: Any, image: dict[str, str]) -> None:
    """Replace an image by its name, wherever containers are."""
    if isinstance(part, list):
        for one in part:
            _rename(one, image)
    elif isinstance(part, dict):
        if part.get("image") == image["name"]:
            part["image"] = f"{image['newName']}:{image['newTag']}"
        for one in part.values():
            _rename(one, image)
