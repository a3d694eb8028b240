"""What a Feast plan would change, object by object and property by property, in words.

Feast's own plan names every view as updated: the registry adds `meta` (when it was made, when it was
changed) to the data sources inside a view, and the definitions have none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from feast.diff.infra_diff import InfraDiff
from feast.diff.property_diff import TransitionType
from feast.diff.registry_diff import FeastObjectDiff, RegistryDiff
from feast.feature_view import DUMMY_ENTITY_NAME
from feast.protos.feast.types.Value_pb2 import ValueType
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

Action = Literal["created", "updated", "deleted"]

_ACTIONS: Mapping[TransitionType, Action] = {
    TransitionType.CREATE: "created",
    TransitionType.UPDATE: "updated",
    TransitionType.DELETE: "deleted",
}
_LONGEST = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """One property of an object, before and after."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One object of Feast that is made, changed or removed."""

    kind: str
    """As Feast has it: `feature view`, `entity`, `feature service`, `sqlite table`."""
    name: str
    action: Action
    properties: tuple[Property, ...] = ()

    @property
    def backfill(self) -> bool:
        """Whether the view got features that entities which are online already do not have."""
        return self.action == "updated" and any(
            p.name.startswith("features +") for p in self.properties
        )


def changes_of(registry: RegistryDiff, infra: InfraDiff) -> tuple[Change, ...]:
    """Return what a plan would change, without what only seems to."""
    return tuple(_registry_changes(registry.feast_object_diffs)) + tuple(
        Change(kind=each.infra_object_type, name=each.name, action=_ACTIONS[each.transition_type])
        for each in sorted(infra.infra_object_diffs, key=lambda each: each.name)
        if each.transition_type in _ACTIONS
    )


def _registry_changes(diffs: Iterable[FeastObjectDiff]) -> Iterator[Change]:
    for diff in sorted(diffs, key=lambda diff: (diff.feast_object_type.name, diff.name)):
        if diff.name == DUMMY_ENTITY_NAME or diff.transition_type not in _ACTIONS:
            continue
        action = _ACTIONS[diff.transition_type]
        properties = tuple(_properties(diff)) if action == "updated" else ()
        if properties or action != "updated":
            kind = diff.feast_object_type.value
            yield Change(kind=kind, name=diff.name, action=action, properties=properties)


def _properties(diff: FeastObjectDiff) -> Iterator[Property]:
    for each in diff.feast_object_property_diffs:
        name, before, after = each.property_name, each.val_existing, each.val_declared
        if name == "features":
            yield from _fields(_listed(before), _listed(after))
        elif (was := _shown(before)) != (now := _shown(after)) or _bare(before) != _bare(after):
            yield Property(name=name, before=was, after=now)


def _fields(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Property]:
    """Compare a view's fields, or what a feature service selects."""
    for name in [*before, *(name for name in after if name not in before)]:
        was, now = before.get(name), after.get(name)
        if was is None:
            yield Property(name=f"features + {name}", before="", after=now or "")
        elif now is None:
            yield Property(name=f"features - {name}", before=was, after="")
        elif was != now:
            yield Property(name=f"features ~ {name}", before=was, after=now)


def _listed(features: Any) -> dict[str, str]:
    """Return dtypes by name; of a feature service, by `view:feature`."""
    found: dict[str, str] = {}
    for each in features:
        if each.DESCRIPTOR.name == "FeatureViewProjection":
            chosen = _listed(each.feature_columns)
            found |= {f"{each.feature_view_name}:{name}": dtype for name, dtype in chosen.items()}
        else:
            found[each.name] = ValueType.Enum.Name(each.value_type)
    return found


def _shown(value: Any) -> str:
    """Return a value in one short line."""
    if isinstance(value, Duration):
        seconds = value.ToTimedelta().total_seconds()
        return f"{seconds:g} s" if seconds else "never"
    if isinstance(value, str):
        lines = value.strip().splitlines()
        value = f"{lines[0]} … ({len(lines)} lines)" if len(lines) > 1 else value
    else:
        value = " ".join(str(_bare(value)).split())
    return value if len(value) <= _LONGEST else f"{value[:_LONGEST]}…"


def _bare(value: Any) -> Any:
    """Return a copy of a message without the `meta` that only the registry has, at any depth."""
    if isinstance(value, Mapping):
        return {key: _bare(each) for key, each in sorted(value.items())}
    if not isinstance(value, Message):
        return value
    bare = type(value)()
    bare.CopyFrom(value)
    _strip(bare)
    return bare


def _strip(message: Message) -> None:
    for field, value in message.ListFields():
        if field.name in ("meta", "project"):
            message.ClearField(field.name)
        elif isinstance(value, Message):
            _strip(value)
        elif field.message_type is not None:
            for each in value.values() if isinstance(value, Mapping) else value:
                if isinstance(each, Message):
                    _strip(each)
