"""What is wrong with a version, or stands in the way of its loading."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from trivet.errors.base import Difference, TrivetError


class ContractMismatch(TrivetError):
    """A version's contract and the feature registry disagree."""

    title = "Contract mismatch"
    held: ClassVar[str] = "contract"
    """What is held against Feast."""

    def __init__(self, model: str, version: int | None, differences: Sequence[Difference]) -> None:
        """`version`: None while a version is only about to be registered."""
        which = model if version is None else f"{model} version {version}"
        super().__init__(
            f"The contract of {which} does not fit what Feast has now: "
            f"{len(differences)} difference(s).",
            hint="Restore the features, or train and register a version on the present ones.",
        )
        self.differences = tuple(differences)


class SignatureMismatch(ContractMismatch):
    """The signature of a version to be adopted and the features do not fit each other."""

    title = "Signature mismatch"
    held = "signature"

    def __init__(self, model: str, version: int, differences: Sequence[Difference]) -> None:
        """`differences`: of the signature, as `contract`, and Feast."""
        TrivetError.__init__(
            self,
            f"The signature of {model} version {version} does not fit the features: "
            f"{len(differences)} difference(s). Nothing was changed.",
            hint="Name columns that the caller sends with --request, and those that may be null with "
            "--null; or choose another feature service.",
        )
        self.differences = tuple(differences)


class AdoptionRefused(TrivetError):
    """A version cannot get a contract as it is."""

    title = "Adoption refused"


class ContractUnreadable(TrivetError):
    """A version has no contract, or one that this Trivet cannot read."""

    title = "Contract unreadable"


class VersionCorrupt(TrivetError):
    """The files of a version are not the ones that its contract names, or do not do what it says."""

    title = "Version corrupt"


class CodeNotCarried(TrivetError):
    """A version would run code that the service's own folder does not hold, and may not."""

    title = "Code not carried"

    def __init__(self, what: str, folder: Path) -> None:
        """`what` would run; `folder`: of the service."""
        super().__init__(
            f"It would run {what}, which {folder} does not hold.",
            hint="Put the file into the service's folder, or unset TRIVET_OWN_CODE_ONLY.",
        )


class VersionTooLarge(TrivetError):
    """A version does not fit into the memory that a worker may give to the loaded ones."""

    title = "Version too large"

    def __init__(self, version: int, takes: int, left: int, most: int) -> None:
        """All in bytes: what it takes, what is left for it, and the setting."""
        super().__init__(
            f"Version {version} takes {_mib(takes)} of memory, and of the {_mib(most)} for loaded "
            f"versions {_mib(left)} are left.",
            hint="TRIVET_VERSIONS_BYTES is that limit; it holds for each worker.",
        )


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


class BentoNotBuilt(TrivetError):
    """BentoML, or what a bento is made of, would not have it."""

    title = "Bento not built"
