"""Every error that Trivet raises on purpose, by the step that breaks.

Each class belongs to one broken step and names two numbers: the HTTP status that a service answers
with and the exit code of the command line (1 refused by a check, 2 wrong usage, 3 something needed is
down). Constructors take facts and compose the sentence; `hint` says what to do next.
"""

from __future__ import annotations

from trivet.errors.base import Difference, TrivetError
from trivet.errors.batch import (
    ChunkFailed,
    JobBusy,
    JobDiffers,
    OutputFailed,
    TooManyRejects,
)
from trivet.errors.features import ApplyRefused, BadDefinitions
from trivet.errors.gateway import GatewayBinaryMissing, GatewayFailed, PortInUse
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
from trivet.errors.replicas import (
    AlreadyUp,
    BentoMissing,
    NotAllReady,
    NothingUp,
    ReplicaFailed,
    SupervisorGone,
    UpdateFailed,
)
from trivet.errors.request import (
    Fault,
    FeaturesUnavailable,
    InvalidInstances,
    MalformedRequest,
    NoChampion,
    Overloaded,
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
    "AlreadyUp",
    "ApplyRefused",
    "ArtifactsUnavailable",
    "BadDefinitions",
    "BadPolicy",
    "BadSetting",
    "BadTrial",
    "BentoMissing",
    "BentoNotBuilt",
    "ChunkFailed",
    "CodeNotCarried",
    "ContractMismatch",
    "ContractUnreadable",
    "Difference",
    "Fault",
    "FeaturesUnavailable",
    "GatesRefused",
    "GatewayBinaryMissing",
    "GatewayFailed",
    "InvalidInstances",
    "JobBusy",
    "JobDiffers",
    "MalformedRequest",
    "MetricsUnreadable",
    "NoChampion",
    "NoTraffic",
    "NotAllReady",
    "NothingLogged",
    "NothingUp",
    "OutputFailed",
    "Overloaded",
    "PackageMissing",
    "PortInUse",
    "PredictionFailed",
    "ProjectNotFound",
    "RegistryBusy",
    "RegistryDenied",
    "RegistryUnavailable",
    "ReleaseConflict",
    "ReleaseRefused",
    "ReplicaFailed",
    "RequestTooLarge",
    "ServiceRefused",
    "ServiceUnreachable",
    "SignatureMismatch",
    "SupervisorGone",
    "TooManyRejects",
    "TrivetError",
    "UnknownModel",
    "UpdateFailed",
    "VersionCorrupt",
    "VersionNotLoaded",
    "VersionTooLarge",
    "WrongService",
    "without_secrets",
]
