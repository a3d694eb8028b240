"""What a caller sends with each request, for rows that somebody else has put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from trivet.clock import system_clock
from trivet.columns import from_json
from trivet.contract import REQUEST, Column, DType
from trivet.errors import AdoptionRefused, BadSetting
from trivet.offer import Offer
from trivet.settings import Settings

_TRUTHS = {"true": True, "false": False}


def with_request_fields(
    settings: Settings,
    offer: Offer | None,
    columns: Sequence[Column],
    rows: pd.DataFrame,
    said: Mapping[str, str],
) -> pd.DataFrame:
    """Return rows with what a caller sends beside the columns: join keys, fields of a request.

    A join key that neither the rows nor `said` have is that of an entity which the offline store knows.

    Args:
        settings: of the project.
        offer: of the feature service; None: the columns are all that is sent.
        columns: of the model.
        rows: n rows with at least these columns.
        said: values by the names of fields, as they are typed.

    Raises:
        BadSetting: `said` names no field of a request, or a value does not fit its dtype.
        AdoptionRefused: a field has no value.
        FeaturesUnavailable: the offline store cannot be read.
    """
    dtypes = _fields_beside(offer, columns)
    if unknown := sorted(set(said) - set(dtypes)):
        raise BadSetting(
            f"--field names {', '.join(unknown)}; a request has "
            f"{', '.join(dtypes) or 'nothing beside the columns'}."
        )
    values = {name: _typed(name, dtypes[name], text) for name, text in said.items()}
    missing = [name for name in dtypes if name not in rows and name not in values]
    if missing and offer is not None:
        values = {**_known(settings, offer, columns), **values}
    still = [name for name in missing if name not in values]
    if still:
        raise AdoptionRefused(
            f"Nobody says what {', '.join(still)} of an example request would be.",
            hint=f"Say so: {' '.join(f'--field {name}=VALUE' for name in still)}.",
        )
    return rows.assign(**{name: values[name] for name in dtypes if name not in rows})


def _fields_beside(offer: Offer | None, columns: Sequence[Column]) -> dict[str, DType]:
    if offer is None:
        return {}
    _, inputs = offer.relied_on(columns)
    views = {column.view for column in (*columns, *inputs)}
    keys = {key for view in offer.views if view.name in views for key in view.join_keys}
    named = {key.name: key.dtype for key in offer.join_keys if key.name in keys}
    return named | {column.name: column.dtype for column in inputs if column.source == REQUEST}


def _known(settings: Settings, offer: Offer, columns: Sequence[Column]) -> dict[str, Any]:
    from trivet.features.known import known_keys
    from trivet.features.store import open_store

    _, inputs = offer.relied_on(columns)
    used = {column.view for column in (*columns, *inputs)}
    views = [view for view in offer.views if view.name in used]
    return known_keys(open_store(settings), views, system_clock())


def _typed(name: str, dtype: DType, text: str) -> Any:
    try:
        if dtype in ("int64", "float64"):
            return from_json(dtype, float(text) if dtype == "float64" else int(text))
        return from_json(dtype, _TRUTHS.get(text, text) if dtype == "bool" else text)
    except ValueError as err:
        raise BadSetting(f"{name} is of dtype {dtype}, and {text!r} is not: {err}.") from err
