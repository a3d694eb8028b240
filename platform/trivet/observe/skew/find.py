"""Replay logged predictions against the offline store, and say what differs and why."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from trivet import logged
from trivet.contract import Contract
from trivet.errors import Difference, NothingLogged, UnknownModel
from trivet.features.offer import differences_from_feast
from trivet.features.store import open_store
from trivet.observe.log import read_log
from trivet.observe.skew.computed import replay_computed
from trivet.observe.skew.replay import Replayed, replay_view
from trivet.observe.skew.served import LoggedRows, logged_rows
from trivet.observe.skew.tally import ColumnSkew, Example, Tally
from trivet.registry.contracts import Contracts
from trivet.settings import Settings


class Watcher(Protocol):
    """Is told how a replay goes."""

    def begins(self, view: str, rows: int) -> None:
        """Rows of a view are about to be asked for."""

    def asked(self, rows: int) -> None:
        """So many more of them have been."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skew:
    """What was found."""

    model: str
    rows: int
    """Logged rows that were replayed."""
    first: datetime
    last: datetime
    """When the first and the last of them were asked for."""
    versions: Mapping[int, int]
    """Rows by the version that answered."""
    left_out: Mapping[str, int]
    """Rows that could not be replayed, by the reason."""
    columns: tuple[ColumnSkew, ...]
    examples: tuple[Example, ...]
    drift: tuple[Difference, ...]
    """Where Feast now is another one than the contracts say: TTLs, dtypes, on-demand code."""

    @property
    def compared(self) -> int:
        """How many values were."""
        return sum(column.compared for column in self.columns)

    @property
    def skewed(self) -> int:
        """How many of them are skewed."""
        return sum(column.skewed for column in self.columns)

    def over(self, threshold: float) -> tuple[ColumnSkew, ...]:
        """Return the columns whose share of skewed values is over a threshold."""
        return tuple(column for column in self.columns if column.share > threshold)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """The rows of one contract, and their columns."""

    rows: LoggedRows
    columns: Mapping[str, Replayed]

    @property
    def version(self) -> int:
        """The version that answered."""
        number: int = self.rows.table[logged.VERSION][0].as_py()
        return number


def find_skew(
    settings: Settings,
    model: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    version: int | None = None,
    limit: int = 10_000,
    watcher: Watcher | None = None,
) -> tuple[Skew, tuple[Replay, ...]]:
    """Replay the newest logged rows of a model, each by the contract that it was answered by.

    Args:
        settings: of the project.
        model: the registered model's name.
        since: rows asked at this moment or later.
        until: rows asked before this moment.
        version: only rows that this version answered.
        limit: the newest so many; they are held in memory.
        watcher: is told of each view.

    Returns:
        What was found; and the replayed rows, for their distributions.

    Raises:
        NothingLogged: no row fits, or none can be replayed.
        BadSetting: a source does not say when its values were known.
        FeaturesUnavailable: a view or its source is not there.
        RegistryUnavailable: a contract has to be asked for, and MLflow does not answer.
    """
    table = read_log(settings, model, since=since, until=until, version=version, limit=limit)
    if not table.num_rows:
        raise NothingLogged(model)
    found, left_out = _by_contract(settings, model, table)
    replays = tuple(_replay(settings, rows, watcher) for rows in found)
    if not replays:
        raise NothingLogged(model, "; ".join(left_out))
    tally = Tally()
    for one in replays:
        tally.add(one.rows, one.columns)
    asked = pc.min_max(pa.concat_arrays([_asked(rows) for rows in found]))
    skew = Skew(
        model=model,
        rows=sum(len(rows) for rows in found),
        first=asked["min"].as_py(),
        last=asked["max"].as_py(),
        versions=_versions(replays),
        left_out=left_out,
        columns=tally.columns(),
        examples=tally.examples(),
        drift=_drift(settings, [rows.contract for rows in found]),
    )
    return skew, replays


def _by_contract(
    settings: Settings, model: str, table: pa.Table
) -> tuple[list[LoggedRows], dict[str, int]]:
    """Return the rows of each contract, and how many have none that takes features, by the reason."""
    contracts = Contracts(settings, model)
    found: list[LoggedRows] = []
    left_out: dict[str, int] = {}
    pairs = table.group_by([logged.VERSION, logged.CONTRACT]).aggregate([([], "count_all")])
    for pair in sorted(pairs.to_pylist(), key=lambda pair: pair[logged.VERSION]):
        version, digest = pair[logged.VERSION], pair[logged.CONTRACT]
        try:
            contract = contracts.find(version, digest)
        except UnknownModel as err:
            left_out[str(err)] = pair["count_all"]
            continue
        if contract.feature_service is None:
            why = f"{model} version {version} takes no features from Feast."
            left_out[why] = pair["count_all"]
            continue
        own = (pc.field(logged.VERSION) == version) & (pc.field(logged.CONTRACT) == digest)
        found.append(logged_rows(contract, table.filter(own)))
    return found, left_out


def _replay(settings: Settings, rows: LoggedRows, watcher: Watcher | None) -> Replay:
    store = open_store(settings, rows.contract.project)
    columns: dict[str, Replayed] = {}
    with tempfile.TemporaryDirectory() as folder:
        for view in rows.contract.views:
            if watcher is not None:
                watcher.begins(view.name, len(rows))
            progress = _ignore if watcher is None else watcher.asked
            columns |= replay_view(store, rows, view, Path(folder), progress)
    columns |= replay_computed(store, rows, columns)
    return Replay(rows=rows, columns=columns)


def _asked(rows: LoggedRows) -> pa.Array:
    return rows.table[logged.LOG_TIMESTAMP].combine_chunks()


def _ignore(rows: int) -> None:
    """Nobody wants to know."""


def _versions(replays: tuple[Replay, ...]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for one in replays:
        counts[one.version] = counts.get(one.version, 0) + len(one.rows)
    return counts


def _drift(settings: Settings, contracts: list[Contract]) -> tuple[Difference, ...]:
    every = (one for contract in contracts for one in differences_from_feast(settings, contract))
    return tuple(dict.fromkeys(every))
