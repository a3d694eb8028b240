"""The serving contract: what a model version needs and what it returns.

A small JSON document that is written once, when a version is registered, and lies among the
version's artifacts as `trivet/contract.json`; its digest is a tag of the version. Everything after
(promotion, loading, applying features) is checked against it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from trivet.errors import ContractUnreadable, Difference

SCHEMA_VERSION = 1

DType = Literal["int64", "float64", "string", "bool", "timestamp"]
"""A column's type; timestamps are aware moments, held in UTC to the microsecond."""

_JSON: dict[DType, tuple[type, ...]] = {
    "int64": (int,),
    "float64": (int, float),
    "string": (str,),
    "bool": (bool,),
    "timestamp": (str,),
}

REQUEST = "request"
"""The source of a column that the caller sends."""

ON_DEMAND = "on_demand"
"""What the source of a column begins with that an on-demand feature view computes."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class Default(_Part):
    """The policy that puts a stated value in the place of an absent one."""

    default: float | int | str | bool


Absent = Literal["reject", "null"] | Default
"""What becomes of an absent value: the row is refused, it stays null, or a default stands in.

Absent is an unknown entity, a missing value and an expired one alike.
"""


class Column(_Part):
    """One input column, as preprocess receives it."""

    name: str
    source: str = Field(
        description="`view:feature` of Feast, `on_demand:feature` of Feast, or `request`."
    )
    dtype: DType
    absent: Absent = "reject"

    @model_validator(mode="after")
    def _default_fits(self) -> Self:
        if isinstance(self.absent, Default) and type(self.absent.default) not in _JSON[self.dtype]:
            raise ValueError(f"the default of {self.name} is not of its dtype, {self.dtype}")
        return self

    @property
    def view(self) -> str | None:
        """The feature view that the column is read from; None for one that is sent or computed."""
        return None if self.source == REQUEST or self.on_demand else self.source.partition(":")[0]

    @property
    def on_demand(self) -> bool:
        """Whether an on-demand feature view computes the column from others."""
        return self.source.startswith(f"{ON_DEMAND}:")

    @property
    def feature(self) -> str:
        """The feature's name in its view; the column's own name for a request column."""
        return self.name if self.source == REQUEST else self.source.partition(":")[2]


class JoinKey(_Part):
    """A field of the request that says which entity a row is about."""

    name: str
    dtype: DType


class View(_Part):
    """A feature view as the contract relies on it.

    The time to live stands here once, not at each column: all columns of a view expire together.
    """

    name: str
    join_keys: tuple[str, ...]
    ttl_seconds: float | None = Field(default=None, description="None: values never expire.")


class OnDemandView(_Part):
    """An on-demand feature view of Feast: computes columns from others, row by row."""

    name: str
    inputs: tuple[str, ...] = Field(description="Names of the columns that it takes.")
    outputs: tuple[str, ...] = Field(description="Names of all columns that it gives.")
    digest: str = Field(description="SHA-256 of its source code.")


class Classification(_Part):
    """Output of a classifier: the class ids are the positions in `classes`."""

    kind: Literal["classification"] = "classification"
    classes: tuple[str, ...] = Field(min_length=2)


class Regression(_Part):
    """Output of a regressor: one number in a named unit."""

    kind: Literal["regression"] = "regression"
    unit: str


class Parity(_Part):
    """What was compared before a faster runtime was trusted."""

    rows: int
    label_mismatches: int
    max_difference: float = Field(description="Largest absolute difference of any output number.")
    tolerance: float


class Runtime(_Part):
    """What executes the model, and the evidence or the reason for it."""

    kind: Literal["onnx", "pyfunc"]
    parity: Parity | None = None
    reason: str | None = Field(default=None, description="Why it is not the faster one.")


class GoldenRow(_Part):
    """One row whose result is known: as it was asked, what preprocess got, what came out."""

    asked_at: AwareDatetime
    request: dict[str, Any] = Field(description="Join keys and request columns, as JSON.")
    features: dict[str, Any] = Field(description="Every input column, null where absent.")
    prediction: dict[str, Any]


class Contract(_Part):
    """The whole contract; frozen, made by `trivet.training.register`."""

    schema_version: Literal[1] = 1
    model: str
    project: str | None = Field(description="The Feast project; None: no features from Feast.")
    feature_service: str | None
    join_keys: tuple[JoinKey, ...]
    views: tuple[View, ...]
    columns: tuple[Column, ...] = Field(min_length=1)
    inputs: tuple[Column, ...] = Field(
        default=(), description="Columns that only on-demand views take, and not preprocess."
    )
    on_demand: tuple[OnDemandView, ...] = ()
    lead_seconds: float = Field(description="How long before its event a prediction is asked.")
    output: Classification | Regression = Field(discriminator="kind")
    runtime: Runtime
    files: dict[str, str] = Field(
        description="SHA-256 of every file the version runs on, by path below the version's folder."
    )
    libraries: dict[str, str]
    golden: tuple[GoldenRow, ...]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        known = {view.name for view in self.views}
        names = {column.name for column in self.fed}
        computed = {name for view in self.on_demand for name in view.outputs}
        for column in (*self.columns, *self.inputs):
            if column.view is not None and column.view not in known:
                raise ValueError(f"column {column.name} is of the unknown view {column.view}")
            if column.on_demand and column.feature not in computed:
                raise ValueError(f"no on-demand view computes column {column.name}")
        for on_demand in self.on_demand:
            if missing := set(on_demand.inputs) - names:
                raise ValueError(f"{on_demand.name} needs the columns {sorted(missing)}")
        keys = {key.name for key in self.join_keys}
        for view in self.views:
            if missing := set(view.join_keys) - keys:
                raise ValueError(f"view {view.name} needs the join keys {sorted(missing)}")
        return self

    @property
    def fed(self) -> tuple[Column, ...]:
        """The columns that are read or sent, in the contract's order: all but the computed ones."""
        return tuple(column for column in (*self.columns, *self.inputs) if not column.on_demand)

    @property
    def computed(self) -> tuple[Column, ...]:
        """The columns that on-demand views compute, in the contract's order."""
        return tuple(column for column in self.columns if column.on_demand)

    @property
    def request_columns(self) -> tuple[Column, ...]:
        """The columns that the caller sends, in the contract's order."""
        return tuple(column for column in self.fed if column.source == REQUEST)

    def columns_of(self, view: str) -> tuple[Column, ...]:
        """Return the columns that come from one feature view, in the contract's order."""
        return tuple(column for column in self.fed if column.view == view)

    def to_json(self) -> str:
        """Return the document as it is stored: indented, `schema_version` first."""
        return self.model_dump_json(indent=2) + "\n"

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical document: the same contract always has the same digest.

        A field at its default does not enter it, so that a field which a later Trivet adds leaves the
        digests of earlier contracts as they are.
        """
        fields = self.model_dump(mode="json", exclude_defaults=True)
        canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()


class Offer(_Part):
    """What a feature service of the Feast registry gives at this moment."""

    project: str
    feature_service: str
    join_keys: tuple[JoinKey, ...]
    views: tuple[View, ...]
    columns: tuple[Column, ...]
    inputs: tuple[Column, ...] = ()
    """What only its on-demand views take: features that the service does not select, request fields."""
    on_demand: tuple[OnDemandView, ...] = ()

    def relied_on(
        self, columns: Iterable[Column]
    ) -> tuple[tuple[OnDemandView, ...], tuple[Column, ...]]:
        """Return what a choice of columns needs beside them: on-demand views, and their inputs."""
        chosen = {column.name: column for column in columns}
        views = tuple(view for view in self.on_demand if chosen.keys() & set(view.outputs))
        pool = {column.name: column for column in (*self.columns, *self.inputs)}
        wanted = dict.fromkeys(name for view in views for name in view.inputs)
        return views, tuple(pool[name] for name in wanted if name not in chosen)


def parse_contract(document: str | bytes) -> Contract:
    """Read a stored contract.

    Raises:
        ContractUnreadable: it is not JSON, of a newer schema, or lacks a part; the sentence says which.
    """
    try:
        fields = json.loads(document)
    except ValueError as err:
        raise ContractUnreadable(f"The contract is not JSON: {err}.") from err
    found = fields.get("schema_version") if isinstance(fields, dict) else None
    if not isinstance(found, int):
        raise ContractUnreadable("The contract has no schema_version.")
    if found > SCHEMA_VERSION:
        raise ContractUnreadable(
            f"The contract has schema_version {found}; this Trivet reads up to {SCHEMA_VERSION}.",
            hint="Upgrade Trivet.",
        )
    try:
        return Contract.model_validate_json(document)
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ContractUnreadable(f"The contract is wrong at {where}: {first['msg']}.") from err


def compare(contract: Contract, offer: Offer | None) -> tuple[Difference, ...]:
    """List every way in which what Feast offers differs from what the contract relies on.

    A feature service may offer more than a version uses; that is no difference.

    Args:
        contract: of the version.
        offer: of the contract's feature service, or None where Feast has no such service.
    """
    if contract.feature_service is None:
        return ()
    if offer is None:
        service = f"{contract.project}/{contract.feature_service}"
        return (
            Difference(column="*", aspect="feature service", contract=service, feast="missing"),
        )
    return (
        *_view_differences(contract, offer),
        *_on_demand_differences(contract, offer),
        *_column_differences(contract, offer),
    )


def _view_differences(contract: Contract, offer: Offer) -> Iterable[Difference]:
    offered = {view.name: view for view in offer.views}
    dtypes = {key.name: key.dtype for key in offer.join_keys}
    for view in contract.views:
        now = offered.get(view.name)
        if now is None:
            yield _difference(f"{view.name}:*", "feature view", "present", "missing")
            continue
        if view.join_keys != now.join_keys:
            yield _difference(
                f"{view.name}:*", "join keys", ", ".join(view.join_keys), ", ".join(now.join_keys)
            )
        if view.ttl_seconds != now.ttl_seconds:
            yield _difference(f"{view.name}:*", "TTL", _ttl(view), _ttl(now))
    for key in contract.join_keys:
        if key.name in dtypes and dtypes[key.name] != key.dtype:
            yield _difference(key.name, "join key dtype", key.dtype, dtypes[key.name])


def _on_demand_differences(contract: Contract, offer: Offer) -> Iterable[Difference]:
    offered = {view.name: view for view in offer.on_demand}
    for view in contract.on_demand:
        now = offered.get(view.name)
        if now is None:
            yield _difference(f"{view.name}:*", "on-demand view", "present", "missing")
            continue
        if view.inputs != now.inputs:
            inputs = ", ".join(view.inputs), ", ".join(now.inputs)
            yield _difference(f"{view.name}:*", "inputs", *inputs)
        if view.digest != now.digest:
            yield _difference(f"{view.name}:*", "on-demand code", view.digest[:8], now.digest[:8])


def _column_differences(contract: Contract, offer: Offer) -> Iterable[Difference]:
    offered = {column.source: column for column in (*offer.columns, *offer.inputs)}
    present = {view.name for view in offer.views} | {view.name for view in offer.on_demand}
    computed_by = {name: view.name for view in contract.on_demand for name in view.outputs}
    for column in (*contract.columns, *contract.inputs):
        owner = computed_by.get(column.feature) if column.on_demand else column.view
        if owner not in present:
            continue
        now = offered.get(column.source)
        if now is None:
            yield _difference(column.source, "feature", "present", "missing")
        elif now.dtype != column.dtype:
            yield _difference(column.source, "dtype", column.dtype, now.dtype)


def _difference(column: str, aspect: str, contract: str, feast: str) -> Difference:
    return Difference(column=column, aspect=aspect, contract=contract, feast=feast)


def _ttl(view: View) -> str:
    return "never" if view.ttl_seconds is None else f"{view.ttl_seconds:g} s"
