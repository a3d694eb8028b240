"""The signature of a version that somebody else registered, as a contract's columns."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from trivet.contract import REQUEST, Column, DType
from trivet.errors import BadSetting, Difference, SignatureMismatch
from trivet.offer import Offer

_DTYPES: Mapping[str, DType] = {
    "double": "float64",
    "float": "float64",
    "long": "int64",
    "integer": "int64",
    "string": "string",
    "boolean": "bool",
    "datetime": "timestamp",
}
"""MLflow's types of columns."""

_NARROW = {"float": "float32", "integer": "int32"}
"""MLflow's types that a column is made narrower for; it refuses the wide one."""

_CASTS = '''\
"""Gives the model the types that its signature names; written when the version was adopted."""

CASTS = {casts!r}


def preprocess(columns):
    """Return the same columns, some of them narrower."""
    return {{name: values.astype(CASTS.get(name, values.dtype)) for name, values in columns.items()}}
'''

Fields = Sequence[tuple[str, str]]
"""Names and MLflow's types of a signature's columns, in order."""


def match_signature(
    model: str,
    version: int,
    fields: Fields,
    offer: Offer | None,
    *,
    request: Collection[str],
    nullable: Collection[str],
) -> tuple[Column, ...]:
    """Return the signature's columns with their sources, in its order.

    Args:
        model: name of the registered model, for the sentences.
        version: of it.
        fields: of the signature.
        offer: of the feature service, with the policies of `nullable`; None: every column is sent.
        request: columns that the caller sends.
        nullable: columns that may be null.

    Raises:
        SignatureMismatch: a column that Feast lacks and nobody sends, or one of another dtype.
        BadSetting: `request` or `nullable` names what is not in the signature.
    """
    names = [name for name, _ in fields]
    if unknown := sorted({*request, *nullable} - set(names)):
        raise BadSetting(
            f"The signature of {model} version {version} has no {', '.join(unknown)}; "
            f"it has {', '.join(names)}."
        )
    offered = {} if offer is None else {column.name: column for column in offer.columns}
    found = [
        _sent(name, kind, nullable) if name in request else offered.get(name)
        for name, kind in fields
    ]
    pairs = list(zip(fields, found, strict=True))
    if differences := [d for field, column in pairs for d in _differences(field, column)]:
        raise SignatureMismatch(model, version, differences)
    return tuple(column for column in found if column is not None)


def casting_code(fields: Fields, *, always: bool = False) -> str | None:
    """Return a preprocess that makes columns as narrow as the signature has them; None: none is.

    Args:
        fields: of the signature.
        always: return one that changes nothing, too.
    """
    casts = {name: _NARROW[kind] for name, kind in fields if kind in _NARROW}
    return _CASTS.format(casts=casts) if casts or always else None


def _sent(name: str, kind: str, nullable: Collection[str]) -> Column | None:
    if kind not in _DTYPES:
        return None
    absent = "null" if name in nullable else "reject"
    return Column(name=name, source=REQUEST, dtype=_DTYPES[kind], absent=absent)


def _differences(field: tuple[str, str], column: Column | None) -> Iterator[Difference]:
    name, kind = field
    if kind not in _DTYPES:
        yield Difference(column=name, aspect="type", contract=kind, feast="no dtype of a column")
    elif column is None:
        yield Difference(column=name, aspect="feature", contract=kind, feast="missing")
    elif column.absent == "null" and column.dtype in ("int64", "bool"):
        # What may be null comes as floats; see `trivet.columns`.
        if kind != "double":
            yield Difference(
                column=name,
                aspect="nulls",
                contract=f"{kind}: none",
                feast=f"{column.dtype} or null",
            )
    elif column.dtype != _DTYPES[kind]:
        yield Difference(column=name, aspect="dtype", contract=kind, feast=column.dtype)
