"""A request body that the version of a contract answers, at any time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from trivet.columns import from_json, to_json
from trivet.contract import Contract, GoldenRow
from trivet.errors import ContractUnreadable


def example_request(contract: Contract, now: datetime) -> dict[str, Any]:
    """Return a golden row as it would be asked now.

    Every time in it is moved by as much as lies between its asking and `now`: a departure that was an
    hour ahead is an hour ahead again.

    Raises:
        ContractUnreadable: the contract has no golden rows.
    """
    if not contract.golden:
        raise ContractUnreadable(f"The contract of {contract.model} has no golden rows.")
    row = min(contract.golden, key=_nulls)
    return {"instances": [_moved(contract, row, now - row.asked_at)]}


def _moved(contract: Contract, row: GoldenRow, by: timedelta) -> dict[str, Any]:
    timestamps = {c.name for c in contract.request_columns if c.dtype == "timestamp"}
    return {
        name: to_json(_to_the_minute(from_json("timestamp", value) + by))
        if name in timestamps and value is not None
        else value
        for name, value in row.request.items()
    }


def _to_the_minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def _nulls(row: GoldenRow) -> int:
    return sum(value is None for value in row.features.values())
