"""The gateway's benchmark says what its figures come to."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from benchmarks.gateway.found import Found, Row, read, write
from benchmarks.gateway.page import draw, fill_page, tables
from benchmarks.serving.report import BEGIN, END
from benchmarks.serving.results import Machine, Spread


def row(name: str, *, through: bool, replicas: int = 1, rate: float = 4000.0) -> Row:
    """Return a row whose replicas take one core, and whose proxy takes a fifth of one."""
    same = Spread.of([1.0, 1.0])
    return Row(
        name=name,
        app="trivet",
        replicas=replicas,
        workers=1,
        through=through,
        per_second=Spread.of([rate, rate]),
        p50_ms=same,
        p99_ms=same,
        of_direct=Spread.of([0.8]) if through else None,
        calm_rate=1000.0,
        calm_p50_ms=same,
        calm_p99_ms=same,
        server_cores=same,
        proxy_cores=Spread.of([0.2 if through else 0.0]),
        generator_cores=Spread.of([0.1]),
    )


def found() -> Found:
    """Return a run of three arrangements."""
    machine = Machine(processor="P", cores=2, memory_gib=1, system="S", python="3", load_before=0.0)
    rows = (
        row("direct", through=False),
        row("one", through=True),
        row("two", through=True, replicas=2, rate=5000.0),
    )
    return Found(
        made_at=datetime(2026, 1, 1, tzinfo=UTC),
        quick=False,
        seconds=3,
        rounds=2,
        connections=64,
        machine=machine,
        versions={"haproxy": "2.8"},
        rows=rows,
    )


def test_the_page_says_what_a_request_takes_and_leaves_the_rule_to_sizing() -> None:
    """A core of a replica at 4,000/s is 250 us a request; a fifth of one for the proxy is 50 us."""
    text = tables(found())
    assert "a request takes 250 us of processor time, and 50 us of HAProxy's" in text
    assert "[sizing](sizing.md)" in text
    assert "plan" not in text, "two rules would contradict each other"
    assert "| Trivet, through the gateway | 4,000 (4,000 to 4,000) | 0.80 (0.80 to 0.80) |" in text
    assert "| 2 x 1 | 5,000" in text


def test_a_run_is_kept_drawn_and_put_into_the_page(tmp_path: Path) -> None:
    """Between the page's marks, with the picture beside it."""
    document, picture, page = tmp_path / "g.json", tmp_path / "g.png", tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write(document, found())
    draw(read(document), picture)
    fill_page(read(document), page, picture)
    text = page.read_text()
    assert "old" not in text
    assert text.startswith("before")
    assert text.endswith("after\n")
    assert (tmp_path / "gateway-benchmarks.png").read_bytes() == picture.read_bytes()
