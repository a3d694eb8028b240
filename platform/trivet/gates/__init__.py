"""The gates that a release has to pass, wired from layers that the registry may not know.

Two always hold: the contract against what Feast has now, and the golden rows through the runtime that
serves. The project's release policy adds others, by model; see `trivet.gates.policy`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from trivet.gates import features, golden, latency, metrics, own
from trivet.gates.bench import Bench
from trivet.gates.policy import ModelPolicy, read_policy
from trivet.settings import Settings

if TYPE_CHECKING:
    from trivet.registry.gate import Gate, Gates
    from trivet.registry.ledger import Action


def release_gates(
    settings: Settings, model: str, action: Action, bench: Bench | None = None
) -> Gates:
    """Return the gates of a release of this kind, by the name under which the ledger reports them.

    Args:
        settings: of the project.
        model: the registered model's name.
        action: what kind of release; a policy says for each gate which kinds it is for.
        bench: of versions in the runtime, to remember what came of them; default: new ones.

    Raises:
        BadPolicy: the policy file cannot be used; the sentence names the key.
    """
    policy = read_policy(settings).of(model)
    tried = bench or Bench()
    return {
        "features": partial(features.judge, settings),
        "golden": partial(golden.judge, tried),
        **_of_policy(policy, action, tried),
    }


def _of_policy(policy: ModelPolicy, action: Action, bench: Bench) -> dict[str, Gate]:
    gates: dict[str, Gate] = {}
    if policy.metrics and action in policy.metrics_on:
        gates["metrics"] = partial(metrics.judge, policy.metrics, bench)
    if policy.latency is not None and action in policy.latency.on:
        gates["latency"] = partial(latency.judge, policy.latency, bench)
    for name, each in policy.own.items():
        if action in each.on:
            gates[name] = partial(own.judge, each)
    return gates
