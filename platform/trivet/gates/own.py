"""A gate of the project's own: a function that the release policy names.

    # checks/fairness.py, at the project's root
    from trivet import Proposal, Verdict


    def equal_error(proposal: Proposal, *, most: float) -> Verdict | None:
        contract = proposal.contract
        ...
        return Verdict(passed=gap <= most, sentences=(f"The gap is {gap:.3f}.",), figures={"gap": gap})

It gets the proposal, and the policy's `parameters` by name. A verdict that has not passed refuses; so
does whatever it raises. None passes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from trivet.gates.policy import Own
from trivet.registry.gate import Verdict

if TYPE_CHECKING:
    from trivet.registry.proposal import Proposal


def judge(policy: Own, proposal: Proposal) -> Verdict:
    """Ask the project's own function; an exception in it is a refusal that names it."""
    module, _, name = policy.call.partition(":")
    with _importable(proposal.settings.root):
        try:
            found = getattr(import_module(module), name)(proposal, **policy.parameters)
        except (Exception, SystemExit) as err:  # noqa: BLE001 - the project's code may raise anything
            return _refused(f"{policy.call} raised {type(err).__name__}: {err}")
    if found is None:
        return Verdict(passed=True, sentences=(f"{policy.call} has nothing against it.",))
    if not isinstance(found, Verdict):
        kind = type(found).__name__
        return _refused(f"{policy.call} returned a {kind}, where a trivet.Verdict is expected.")
    return found


def _refused(sentence: str) -> Verdict:
    return Verdict(passed=False, sentences=(sentence,))


@contextmanager
def _importable(root: Path) -> Iterator[None]:
    """Let modules be found from the project's root, as `python -m` at the root does."""
    path = str(root)
    sys.path.insert(0, path)
    try:
        yield
    finally:
        sys.path.remove(path)
