"""What a container installs beside Trivet: the versions that this environment has, and no others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from trivet.errors import BentoNotBuilt

_BY_BENTOML = "bentoml"
"""BentoML adds itself to a bento's requirements."""


def pinned_requirements(extras: Iterable[str] = (), beside: Iterable[str] = ()) -> tuple[str, ...]:
    """Return `name==version` of everything that Trivet needs, and what that needs, sorted.

    Args:
        extras: of Trivet, such as `redis`.
        beside: other distributions, such as the library that a model's steps come from.

    Raises:
        BentoNotBuilt: something that is needed is not installed here.
    """
    chosen = ",".join(sorted(extras))
    first = Requirement(f"trivet[{chosen}]" if chosen else "trivet")
    found = dict(_walk([first, *(Requirement(name) for name in sorted(beside))]))
    left_out = {"trivet", _BY_BENTOML}
    return tuple(f"{name}=={found[name]}" for name in sorted(found.keys() - left_out))


def _walk(wanted: list[Requirement]) -> Iterator[tuple[str, str]]:
    """Yield each distribution's name and version, once for each way in which it is needed."""
    seen: set[tuple[str, str]] = set()
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        new = {(name, extra) for extra in ("", *requirement.extras)} - seen
        seen |= new
        if new:
            found = _installed(name)
            yield name, found.version
            wanted.extend(_needs(found, [extra for _, extra in new]))


def _needs(found: Distribution, extras: Iterable[str]) -> Iterator[Requirement]:
    chosen = tuple(extras)
    for line in found.requires or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in chosen):
            yield requirement


def _installed(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError as err:
        raise BentoNotBuilt(
            f"{name} is needed by a bento and not installed here.",
            hint="Install Trivet with all that it depends on, then build again.",
        ) from err
