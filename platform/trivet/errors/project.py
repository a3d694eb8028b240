"""What is wrong with the project, its settings, or what is installed."""

from __future__ import annotations

from trivet.errors.base import TrivetError
from trivet.errors.registry import without_secrets


class ProjectNotFound(TrivetError):
    """No folder above the working directory says that it is a Trivet project."""

    exit_code = 2
    title = "Project not found"

    def __init__(self, start: str) -> None:
        """`start`: the folder from which the search went upwards."""
        super().__init__(
            f"No pyproject.toml with a [tool.trivet] table in {start} or above it.",
            hint="Go to your project, set TRIVET_ROOT, or add the table to its pyproject.toml.",
        )


class BadSetting(TrivetError):
    """A setting has a value that cannot be used."""

    exit_code = 2
    title = "Bad setting"


class BadPolicy(TrivetError):
    """The release policy cannot be used as it stands."""

    exit_code = 2
    title = "Bad release policy"

    def __init__(self, file: str, key: str, what: str, todo: str) -> None:
        """`key`: where in the file, such as `models.churn.metrics.auc.min`."""
        place = f"{file}, {key}" if key else file
        super().__init__(f"{place}: {what}.", hint=todo)


class PackageMissing(TrivetError):
    """What a registry's address needs is not installed."""

    exit_code = 2
    title = "Package missing"

    def __init__(self, uri: str, package: str, todo: str) -> None:
        """`todo`: how to get it."""
        super().__init__(
            f"MLflow at {without_secrets(uri)} needs the package {package}, which is not installed.",
            hint=todo,
        )
