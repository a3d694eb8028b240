"""Where figures go: a document, tables and pictures in reports/, and docs/benchmarks.md."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.serving import report, results
from benchmarks.serving.project import REPOSITORY
from benchmarks.serving.results import Results

REPORTS = REPOSITORY / "reports" / "bench"
PAGE = REPOSITORY / "docs" / "benchmarks.md"
KINDS = {"usual": "Side by side", "peers": "Peers", "growth": "How cost grows"}


def publish(kind: str, document: Results) -> None:
    """Write a run's document, and its tables and pictures beside it, in place of the last run's."""
    from benchmarks.serving.picture import draw_curve, draw_throughput

    for old in _pictures(kind):
        old.unlink()
    results.write(REPORTS / f"{kind}.json", document)
    (REPORTS / f"{kind}.md").write_text(report.tables(document))
    if document.throughput:
        draw_throughput(document, REPORTS / f"{kind}.png")
    for number, curve in enumerate(document.curves, start=1):
        draw_curve(curve, REPORTS / f"{kind}-{number}-{_slug(curve.name)}.png")


def fill_page() -> None:
    """Put the last run of each kind into the page of the documentation, with its pictures."""
    for old in PAGE.parent.glob("benchmarks-*.png"):
        old.unlink()
    parts = []
    for kind, title in KINDS.items():
        document = REPORTS / f"{kind}.json"
        if document.exists():
            parts += [f"### {title}", *map(_shown, _pictures(kind))]
            parts.append(report.tables(results.read(document), level=4))
    report.fill(PAGE, "\n\n".join(parts))


def _pictures(kind: str) -> list[Path]:
    return sorted(REPORTS.glob(f"{kind}*.png"))


def _shown(picture: Path) -> str:
    """Copy a picture beside the page, and return how the page shows it."""
    (PAGE.parent / f"benchmarks-{picture.name}").write_bytes(picture.read_bytes())
    return f"![{picture.stem.replace('-', ' ')}](benchmarks-{picture.name})"


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
