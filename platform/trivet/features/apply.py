"""Plan what the definitions in the feature repository would change, and apply that very plan.

A plan is made from the definitions themselves: neither the registry nor an online table is touched.
Feast refuses nothing; what a plan would break is for others to find out from the offers it gives.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import linecache
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from feast import FeatureStore
from feast.base_feature_view import BaseFeatureView
from feast.diff.infra_diff import InfraDiff
from feast.diff.property_diff import TransitionType
from feast.errors import FeastObjectNotFoundException
from feast.project import Project
from feast.repo_contents import RepoContents
from feast.repo_operations import apply_total_with_repo_instance, parse_repo

from trivet.errors import BadDefinitions, BadSetting, FeaturesUnavailable
from trivet.features.changes import Change, changes_of
from trivet.features.offer import describe_offer
from trivet.offer import Offer
from trivet.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturePlan:
    """What applying the definitions would do; `apply_features` does this."""

    project: str
    changes: tuple[Change, ...]
    store: FeatureStore = field(repr=False)
    repo: RepoContents = field(repr=False)

    def offer(self, service_name: str) -> Offer | None:
        """Describe what a feature service would offer; None where there would be none.

        Raises:
            BadSetting: it would hold something that a contract cannot name.
        """
        service = next((s for s in self.repo.feature_services if s.name == service_name), None)
        if service is None:
            return None
        try:
            return describe_offer(self.project, service, self._view)
        except FeastObjectNotFoundException:
            return None

    def _view(self, name: str) -> BaseFeatureView:
        repo = self.repo
        views: list[BaseFeatureView] = [
            *repo.feature_views,
            *repo.on_demand_feature_views,
            *repo.stream_feature_views,
            *repo.label_views,
        ]
        for view in views:
            if view.name == name:
                return view
        raise FeastObjectNotFoundException(f"{self.project} would have no view {name}.")


def plan_features(store: FeatureStore, settings: Settings) -> FeaturePlan:
    """Compare the definitions in the feature repository with the registry; writes nothing.

    Raises:
        BadDefinitions: the folder's Python fails, or Feast does not accept what it defines.
        FeaturesUnavailable: the registry does not answer.
    """
    with _inside(settings.feature_repo):
        repo = _parse(settings.feature_repo, store.project)
        with _refusals("Feast does not accept the definitions"):
            registry, infra, _ = store.plan(repo)
    _refuse_moved_tables(infra)
    changes = changes_of(registry, infra)
    return FeaturePlan(project=store.project, changes=changes, store=store, repo=repo)


def apply_features(plan: FeaturePlan, settings: Settings) -> None:
    """Apply a plan as `feast apply` does.

    Raises:
        FeaturesUnavailable: Feast could not; parts may have been applied, and it can be repeated.
    """
    try:
        with _inside(settings.feature_repo), _quiet():
            apply_total_with_repo_instance(
                plan.store,
                plan.project,
                plan.store.registry,
                plan.repo,
                skip_source_validation=False,
            )
    except Exception as err:
        raise FeaturesUnavailable(
            f"Feast could not apply the definitions: {type(err).__name__}: {err}"
        ) from err


def _parse(folder: Path, project: str) -> RepoContents:
    importlib.invalidate_caches()
    linecache.checkcache()  # Feast keeps a function's source as it finds it there
    before = set(sys.modules)
    with _refusals("The definitions cannot be read"):
        repo = parse_repo(folder)
    for name in set(sys.modules) - before:
        # Another project has modules of the same names, and these may be edited before the next plan.
        if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(folder):
            del sys.modules[name]
    if not repo.projects:
        repo.projects.append(Project(name=project))
    if [one.name for one in repo.projects] != [project]:
        names = ", ".join(one.name for one in repo.projects)
        raise BadDefinitions(f"The definitions are of {names}, feature_store.yaml of {project}.")
    return repo


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Be where `feast apply` would be typed: its modules are found from the working directory."""
    wrote_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.insert(0, str(folder))
    try:
        with contextlib.chdir(folder):
            yield
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = wrote_bytecode


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Drop what Feast narrates: standard output belongs to a command's result."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "On demand feature view is an experimental", RuntimeWarning
        )
        yield


@contextlib.contextmanager
def _refusals(sentence: str) -> Iterator[None]:
    try:
        with _quiet():
            yield
    except (ConnectionError, TimeoutError) as err:
        raise FeaturesUnavailable(f"The feature registry does not answer: {err}") from err
    except (Exception, SystemExit) as err:
        raise BadDefinitions(f"{sentence}: {type(err).__name__}: {err}") from err


def _refuse_moved_tables(infra: InfraDiff) -> None:
    """Refuse a plan in which Feast would drop online tables elsewhere and make none here.

    To Feast 0.67 a table whose file has another path than the registry remembers is an update, and an
    update tears down without creating. With a registry that was copied, the tables of the original
    project would be gone.
    """
    moved: list[Any] = [
        each
        for each in infra.infra_object_diffs
        if each.transition_type is TransitionType.UPDATE
        and Path(getattr(each.current_infra_object, "path", "")).is_file()
    ]
    if moved:
        there = moved[0].current_infra_object.path
        raise BadSetting(
            f"The registry says that {len(moved)} online tables are in {there}; Feast would drop them "
            f"there and make none in {moved[0].new_infra_object.path}.",
            hint="Was the registry copied, or the online store moved? Begin with a new registry.",
        )
