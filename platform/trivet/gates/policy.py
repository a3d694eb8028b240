"""The release policy: which gates apply to which model, and how strict they are.

    # release-policy.toml, at the project's root
    [default]                                   # models without a table of their own
    latency.p99_ms = { 1 = 50 }

    [models.churn]
    metrics.auc_macro = { min = 0.7, tolerance = 0.01 }
    latency.p99_ms = { 1 = 5, 100 = 40 }        # rows a request = milliseconds
    own.fairness = { call = "checks.fairness:equal_error", parameters = { most = 0.1 } }

The contract against Feast and the golden rows always hold; a policy adds to them.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from trivet.errors import BadPolicy
from trivet.settings import Settings

Kind = Literal["promote", "rollback", "accept", "canary", "shadow"]
Direction = Literal["higher", "lower"]

_BETTER: Mapping[str, Direction] = {
    "accuracy": "higher",
    "auc": "higher",
    "average_precision": "higher",
    "balanced_accuracy": "higher",
    "f1": "higher",
    "precision": "higher",
    "r2": "higher",
    "recall": "higher",
    "roc_auc": "higher",
    "brier": "lower",
    "log_loss": "lower",
    "loss": "lower",
    "mae": "lower",
    "mape": "lower",
    "mse": "lower",
    "rmse": "lower",
}
"""Which way is better, by how a metric's name begins: `f1_macro` is an `f1`."""

_RESERVED = ("features", "golden", "latency", "metrics")


class Part(BaseModel):
    """A frozen part of the policy, which knows all its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class MetricRule(Part):
    """What is asked of one metric."""

    min: float | None = Field(default=None, description="The floor, where higher is better.")
    max: float | None = Field(default=None, description="The ceiling, where lower is better.")
    tolerance: float | None = Field(
        default=None,
        ge=0,
        description="How much worse than the champion it may be on the same held-out rows; absent: "
        "it is not compared.",
    )
    direction: Direction | None = Field(
        default=None, description="Which way is better; known of the usual metrics by their names."
    )

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if self.min is None and self.max is None and self.tolerance is None:
            raise ValueError("say min, max or tolerance")
        return self


class Latency(Part):
    """How long a prediction may take, from preprocess to postprocess."""

    p99_ms: dict[Annotated[int, Field(ge=1, le=10_000)], Annotated[float, Field(gt=0)]] = Field(
        min_length=1, description="Milliseconds at p99, by rows a request."
    )
    seconds: float = Field(
        default=2.0, gt=0, le=60, description="How long it is measured at most, for each of them."
    )
    on: frozenset[Kind] = frozenset({"promote"})


class Own(Part):
    """A gate of the project's own."""

    call: str = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$",
        description="`package.module:function`, found from the project's root.",
    )
    parameters: dict[str, Any] = Field(default={}, description="Given to it by name.")
    on: frozenset[Kind] = frozenset({"promote"})


class ModelPolicy(Part):
    """The gates of one model beside those that always hold."""

    metrics: dict[str, MetricRule] = {}
    metrics_on: frozenset[Kind] = frozenset({"promote"})
    latency: Latency | None = None
    own: dict[str, Own] = {}

    @model_validator(mode="after")
    def _can_be_judged(self) -> Self:
        for name, rule in self.metrics.items():
            better = direction_of(name, rule)
            if better is None:
                raise ValueError(f"which way is {name} better? Say direction = 'higher' or 'lower'")
            wrong = "max" if better == "higher" else "min"
            if getattr(rule, wrong) is not None:
                raise ValueError(f"{name} has a {wrong}, and {better} is better")
        for name in self.own:
            if name in _RESERVED or not re.fullmatch(r"[\w-]+", name):
                raise ValueError(f"own.{name} cannot be a gate's name; {_RESERVED} are taken")
        return self


class Policy(Part):
    """The whole file."""

    default: ModelPolicy = ModelPolicy()
    models: dict[str, ModelPolicy] = {}

    def of(self, model: str) -> ModelPolicy:
        """Return a model's policy: its own table alone, else the default."""
        return self.models.get(model, self.default)


def read_policy(settings: Settings) -> Policy:
    """Read the project's policy; the empty one where there is no file.

    Raises:
        BadPolicy: it is not TOML, or a key is wrong; the sentence says which, and what to do.
    """
    file = settings.root / settings.release_policy
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Policy()
    except (OSError, UnicodeDecodeError) as err:
        raise BadPolicy(file.name, "", f"it cannot be read: {err}", "See that it can.") from err
    except tomllib.TOMLDecodeError as err:
        raise BadPolicy(file.name, "", f"it is not TOML: {err}", "Mend that line.") from err
    try:
        return Policy.model_validate(document)
    except ValidationError as err:
        first = err.errors()[0]
        key = ".".join(str(part) for part in first["loc"] if part != "[key]")
        raise BadPolicy(file.name, key, _what(first["msg"]), _todo(first["type"])) from err


def direction_of(name: str, rule: MetricRule) -> Direction | None:
    """Return which way a metric is better: as said, else by how its name begins, else None."""
    if rule.direction is not None:
        return rule.direction
    stems = (stem for stem in _BETTER if name == stem or name.startswith(f"{stem}_"))
    longest = max(stems, key=len, default=None)
    return None if longest is None else _BETTER[longest]


def _what(message: str) -> str:
    plain = message.removeprefix("Value error, ").rstrip(".")
    return plain[:1].lower() + plain[1:]


def _todo(kind: str) -> str:
    if kind == "extra_forbidden":
        return "Remove it, or mend its spelling: docs/releases.md lists the keys."
    return "Mend it: docs/releases.md says what each key takes."
