"""Every error that Trivet raises on purpose, by the step that breaks.

Each class belongs to one broken step and names two numbers: the HTTP status that a service answers
with and the exit code of the command line (1 refused by a check, 2 wrong usage, 3 something needed is
down). Constructors take facts and compose the sentence; `hint` says what to do next.
"""

from __future__ import annotations

from trivet.errors.base import Difference, TrivetError
from trivet.errors.features import ApplyRefused, BadDefinitions
from trivet.errors.project import BadPolicy, BadSetting, PackageMissing, ProjectNotFound
from trivet.errors.registry import (
    ArtifactsUnavailable,
    RegistryBusy,
    RegistryDenied,
    RegistryUnavailable,
    without_secrets,
)
from trivet.errors.release import (
    BadTrial,
    GatesRefused,
    ReleaseConflict,
    ReleaseRefused,
    UnknownModel,
)
from trivet.errors.request import (
    Fault,
    FeaturesUnavailable,
    InvalidInstances,
    MalformedRequest,
    NoChampion,
    PredictionFailed,
    RequestTooLarge,
    VersionNotLoaded,
)
from trivet.errors.service import (
    MetricsUnreadable,
    NothingLogged,
    NoTraffic,
    ServiceRefused,
    ServiceUnreachable,
    WrongService,
)
from trivet.errors.version import (
    AdoptionRefused,
    BentoNotBuilt,
    CodeNotCarried,
    ContractMismatch,
    ContractUnreadable,
    SignatureMismatch,
    VersionCorrupt,
    VersionTooLarge,
)

__all__ = [
    "AdoptionRefused",
    "ApplyRefused",
    "ArtifactsUnavailable",
    "BadDefinitions",
    "BadPolicy",
    "BadSetting",
    "BadTrial",
    "BentoNotBuilt",
    "CodeNotCarried",
    "ContractMismatch",
    "ContractUnreadable",
    "Difference",
    "Fault",
    "FeaturesUnavailable",
    "GatesRefused",
    "InvalidInstances",
    "MalformedRequest",
    "MetricsUnreadable",
    "NoChampion",
    "NoTraffic",
    "NothingLogged",
    "PackageMissing",
    "PredictionFailed",
    "ProjectNotFound",
    "RegistryBusy",
    "RegistryDenied",
    "RegistryUnavailable",
    "ReleaseConflict",
    "ReleaseRefused",
    "RequestTooLarge",
    "ServiceRefused",
    "ServiceUnreachable",
    "SignatureMismatch",
    "TrivetError",
    "UnknownModel",
    "VersionCorrupt",
    "VersionNotLoaded",
    "VersionTooLarge",
    "WrongService",
    "without_secrets",
]
