"""The supervisor in the background: `python -m trivet.gateway PLAN`, by `trivet up --detach`."""

from __future__ import annotations

import sys

from trivet.clock import system_clock
from trivet.errors import TrivetError
from trivet.gateway.running import Plan, serve
from trivet.gateway.state import State
from trivet.settings import load_settings, silence_telemetry


def main() -> None:
    """Serve a plan, and write what happens to standard error."""
    silence_telemetry()
    plan = Plan.model_validate_json(sys.argv[1])
    try:
        serve(load_settings(), plan, _tell, _ready)
    except TrivetError as err:
        sys.stderr.write(f"{err.title}: {err.sentence}\n")
        if err.hint:
            sys.stderr.write(f"{err.hint}\n")
        sys.exit(err.exit_code)


def _tell(what: str) -> None:
    sys.stderr.write(f"{system_clock().isoformat(timespec='milliseconds')} {what}\n")
    sys.stderr.flush()


def _ready(state: State) -> None:
    who = "all" if state.settled else "all but those that were given up"
    _tell(f"{who} are ready behind {state.url}")


if __name__ == "__main__":
    main()
