"""What a bento's service.py builds on.

    import bentoml
    from trivet.serving.service import PredictionService, TrivetService

    @bentoml.service(name="flight_delay", service_class=TrivetService)
    class FlightDelay(PredictionService):
        model = "flight_delay"

The rest of BentoML's configuration (workers, timeouts, resources) is set in the decorator or by
BentoML's own variables, as anywhere.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from trivet.clock import system_clock
from trivet.errors import TrivetError
from trivet.settings import load_settings, settings_at, silence_telemetry

silence_telemetry()

import bentoml  # noqa: E402 - its usage reporting is decided by the environment
from bentoml._internal.utils.analytics.usage_stats import do_not_track  # noqa: E402

# The command line has asked, and remembered the answer, before it loads a service.
do_not_track.cache_clear()

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from trivet.serving.carried import CarriedCode

log = logging.getLogger("trivet.serving")


class PredictionService:
    """The base of a service that answers with the live version of one registered model."""

    model: ClassVar[str]
    """Name of the registered model."""
    follows: ClassVar[bool] = True
    """Whether releases are followed; a pinned service answers with the version in its bento."""

    def __init_subclass__(cls) -> None:
        """Have BentoML begin undrained and start the model's follower, once, in the parent process.

        BentoML calls deployment hooks without the class, so each class gets one that knows its model.
        """

        def undrained() -> None:
            _forget_drain(cls)

        undrained.__bentoml_deployment_hook__ = True  # type: ignore[attr-defined]
        cls.forget_drain = staticmethod(undrained)  # type: ignore[attr-defined]
        if not cls.follows:
            return
        hook = functools.partial(_start_follower, cls.model)
        hook.__bentoml_deployment_hook__ = True  # type: ignore[attr-defined]
        cls.follow_releases = staticmethod(hook)  # type: ignore[attr-defined]

    def __init__(self) -> None:
        """Load what is live, in each worker; heavy imports happen here, not in the parent."""
        from trivet.serving.worker import Worker

        settings = load_settings()
        code = _carried_code(type(self)) if settings.own_code_only else None
        self.worker = Worker(self.model, settings, code=code)

    @bentoml.on_startup
    def settle_memory(self) -> None:
        """Take what was loaded out of the garbage collector's sight; see `trivet.serving.garbage`."""
        self.worker.settle_memory()

    @bentoml.on_startup
    def end_with_parent(self) -> None:
        """End with `bentoml serve`, however that ends; not where somebody else runs the app."""
        if bentoml.server_context.worker_index is not None:
            from trivet.serving.following import end_with_parent

            end_with_parent()

    @bentoml.on_shutdown
    def stop_worker(self) -> None:
        """End the thread that looks for releases, and finish the prediction log."""
        self.worker.stop()

    @bentoml.api(route="/predict")
    async def predict(self, instances: list[dict[str, Any]]) -> dict[str, Any]:
        """Predict each instance: its join keys and request columns, as GET /contract lists them.

        Raises:
            bentoml.exceptions.BentoMLException: in place of Trivet's own error, with its sentence and
                status: to BentoML, which answers where Trivet's route does not, any other is a 500.
        """
        from trivet.serving.asgi import new_request_id

        try:
            answer = await self.worker.dataplane.predict(
                instances, lambda slot: slot.champion(), new_request_id()
            )
        except TrivetError as err:
            status = HTTPStatus(err.status)
            raise bentoml.exceptions.BentoMLException(str(err), error_code=status) from err
        return answer.document

    async def __is_ready__(self) -> bool:
        """Say whether a version is loaded and the feature store answers; BentoML's `/readyz`."""
        return await self.worker.is_ready()


class PinnedService(PredictionService):
    """The base of a service that answers with the one version in its own bento, without MLflow.

    `trivet bento` writes such a service.
    """

    follows = False

    def __init__(self) -> None:
        """Load the version that lies beside the service's file."""
        from trivet.serving.pinned.loading import open_pinned

        self.worker = open_pinned(self.model, _folder_of(type(self)))


class TrivetService(bentoml.Service[Any]):
    """BentoML's service with Trivet's routes in front; named as `service_class`."""

    def __attrs_post_init__(self) -> None:
        """Bind to loopback unless more is said, and count apart from other services.

        The decorator, the command line and the configuration can name another address. In a container
        that BentoML made, loopback would be out of reach for everybody.
        """
        from trivet.serving.counting import count_apart

        count_apart()
        host = "0.0.0.0" if "BENTOML_CONTAINERIZED" in os.environ else "127.0.0.1"  # noqa: S104
        self.config.setdefault("http", {}).setdefault("host", host)
        super().__attrs_post_init__()

    def __call__(self) -> Any:
        """Make the instance, and keep it for the routes in front."""
        self._served = super().__call__()
        return self._served

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """Return BentoML's app behind Trivet's routes."""
        from trivet.serving.front import Front

        return Front(
            super().to_asgi(is_main=is_main),
            lambda: self._served.worker,
            self._describe,
        )

    def _describe(self) -> dict[str, Any]:
        from trivet.serving.openapi import describe_routes

        champion = self._served.worker.slot.loaded.champion
        contract = None if champion is None else champion.contract
        about = inspect.getdoc(self.inner) or f"Predictions of {self.inner.model}."
        return describe_routes(self.openapi_spec.asdict(), about, contract, system_clock())


def _carried_code(service: type) -> CarriedCode:
    from trivet.serving.carried import CarriedCode

    return CarriedCode(_folder_of(service))


def _folder_of(service: type) -> Path:
    """Return the folder of the file that a service is written in."""
    return Path(inspect.getfile(service)).resolve().parent


def _forget_drain(service: type[PredictionService]) -> None:
    from trivet.serving.following import forget_drain

    forget_drain(load_settings() if service.follows else settings_at(_folder_of(service)))


def _start_follower(model: str) -> None:
    from trivet.serving.following import start_follower

    start_follower(model)
