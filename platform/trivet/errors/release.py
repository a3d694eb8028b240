"""Why a release, or a trial beside the champion, does not take place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trivet.errors.base import Difference, TrivetError


class UnknownModel(TrivetError):
    """The registry has no such model or version."""

    status = 404
    exit_code = 2
    title = "Unknown model"


class ReleaseRefused(TrivetError):
    """The release would change nothing or has nothing to go back to."""

    title = "Release refused"


class GatesRefused(ReleaseRefused):
    """A gate refused a release; alias, ledger and services are as they were."""

    def __init__(
        self,
        model: str,
        version: int,
        refused: Mapping[str, Sequence[str]],
        differences: Sequence[Difference] = (),
        *,
        final: Sequence[str] = (),
    ) -> None:
        """`refused`: sentences by gate; `final`: the gates of these that nobody may force."""
        said = "; ".join(f"{gate}: {' '.join(sentences)}" for gate, sentences in refused.items())
        hint = "--force --reason WHY releases it all the same; the ledger keeps both."
        if final:
            hint = f"What {', '.join(final)} found cannot be forced: release another version."
        super().__init__(f"{model} version {version} is not released. {said}", hint=hint)
        self.summary = (
            f"{model} version {version} is not released: refused by {', '.join(refused)}. "
            "Nothing was changed."
        )
        """The sentence without what each gate said."""
        self.refused = tuple(refused)
        self.differences = tuple(differences)


class ReleaseConflict(TrivetError):
    """Somebody else's release came first."""

    title = "Release conflict"


class BadTrial(TrivetError):
    """A canary or a shadow is asked for that cannot be: its tag, its version or its limits."""

    exit_code = 1
    title = "Canary refused"
