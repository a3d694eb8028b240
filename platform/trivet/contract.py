"""The serving contract: what a model version needs and what it returns.

A small JSON document that is written once, when a version is registered, and lies among the
version's artifacts as `trivet/contract.json`; its digest is a tag of the version. Everything after
(promotion, loading, applying features) is checked against it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from trivet.errors import ContractUnreadable
from trivet.schemas import upgraded

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


class Part(BaseModel):
    """A frozen part of a document, which knows all its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class Default(Part):
    """The policy that puts a stated value in the place of an absent one."""

    default: float | int | str | bool


Absent = Literal["reject", "null"] | Default
"""What becomes of an absent value: the row is refused, it stays null, or a default stands in.

Absent is an unknown entity, a missing value and an expired one alike.
"""


class Column(Part):
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


class JoinKey(Part):
    """A field of the request that says which entity a row is about."""

    name: str
    dtype: DType


class View(Part):
    """A feature view as the contract relies on it.

    The time to live stands here once, not at each column: all columns of a view expire together.
    """

    name: str
    join_keys: tuple[str, ...]
    ttl_seconds: float | None = Field(default=None, description="None: values never expire.")


class OnDemandView(Part):
    """An on-demand feature view of Feast: computes columns from others, row by row."""

    name: str
    inputs: tuple[str, ...] = Field(description="Names of the columns that it takes.")
    outputs: tuple[str, ...] = Field(description="Names of all columns that it gives.")
    digest: str = Field(description="SHA-256 of its source code.")


class Classification(Part):
    """Output of a classifier: the class ids are the positions in `classes`."""

    kind: Literal["classification"] = "classification"
    classes: tuple[str, ...] = Field(min_length=2)


class Regression(Part):
    """Output of a regressor: one number in a named unit."""

    kind: Literal["regression"] = "regression"
    unit: str


class Parity(Part):
    """What was compared before a faster runtime was trusted.

    Versions registered before these were counted have zero rows of each kind, and no precision.
    """

    rows: int = Field(description="All rows compared: held out, drawn and adversarial.")
    held_out_rows: int = 0
    drawn_rows: int = Field(default=0, description="Drawn within the held-out columns' ranges.")
    adversarial_rows: dict[str, int] = Field(default={}, description="Compared, by kind.")
    refused_rows: dict[str, int] = Field(
        default={}, description="Refused by the model itself, by kind: nothing to compare with."
    )
    precision: Literal["single", "double"] | None = Field(
        default=None, description="In which the graph's trees, or its whole last step, compute."
    )
    label_mismatches: int
    max_difference: float = Field(description="Largest absolute difference of any output number.")
    tolerance: float


class Runtime(Part):
    """What executes the model, and the evidence or the reason for it."""

    kind: Literal["onnx", "pyfunc"]
    parity: Parity | None = None
    reason: str | None = Field(default=None, description="Why it is not the faster one.")


class GoldenRow(Part):
    """One row whose result is known: as it was asked, what preprocess got, what came out."""

    asked_at: AwareDatetime
    request: dict[str, Any] = Field(description="Join keys and request columns, as JSON.")
    features: dict[str, Any] = Field(description="Every input column, null where absent.")
    prediction: dict[str, Any]


class Contract(Part):
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

    _registered: str | None = PrivateAttr(default=None)
    """The digest by the rules of its own schema, where that is an older one."""

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
        digests of earlier contracts as they are. One of an older schema keeps the digest that it was
        registered with.
        """
        if self._registered is not None:
            return self._registered
        fields = self.model_dump(mode="json", exclude_defaults=True)
        canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()


def parse_contract(document: str | bytes) -> Contract:
    """Read a stored contract; one of an older schema is upgraded step by step.

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
    present, digest = upgraded(fields, found)
    # The document itself where it can be: pydantic reads JSON's numbers and times more exactly.
    contract = _validated(document if digest is None else json.dumps(present))
    contract._registered = digest  # noqa: SLF001 - its own reader
    return contract


def _validated(document: str | bytes) -> Contract:
    try:
        return Contract.model_validate_json(document)
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ContractUnreadable(f"The contract is wrong at {where}: {first['msg']}.") from err
