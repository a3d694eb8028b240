"""`make demo`, as typed: the journey without staying."""

from __future__ import annotations

import re

from journey import Project

from .conftest import BENTO
from .registry import Registry


def test_the_demo_ends_well_and_tells_what_happened(project: Project, registry: Registry) -> None:
    """Its own service, two versions, a table, no failed request; and nothing is trained anew."""
    versions, aliases = registry.versions, registry.aliases
    # A home of its own: else it would have the follower of the other tests' service.
    home = {"TRIVET_HOME": str(project.root / "demo")}
    told = project.run("python", "demo.py", cwd=BENTO, env=home).stderr
    (sent,) = re.findall(r"([\d,]+) requests, 0 failed\.", told)
    assert int(sent.replace(",", "")) > 100
    for phase in ("v1 is champion", "promote v3", "v3 is champion", "roll back", "v1 again"):
        assert phase in told
    assert (registry.versions, registry.aliases) == (versions, aliases)
