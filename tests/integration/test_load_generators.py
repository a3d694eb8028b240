"""The benchmarks' load and servers do what they say: a wrong harness gives figures that look right."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import ThreadingMixIn
from threading import Lock, Thread

import httpx
import pytest

from benchmarks.serving import openloop
from benchmarks.serving.callers import Callers, post
from benchmarks.serving.servers import Server, free_port, running
from waiting import wait_or_kill

STALL = 0.4


class _Threads(ThreadingMixIn, HTTPServer):
    daemon_threads = True


@contextmanager
def toy(*, stall_at: int | None = None, refuse_at: int | None = None) -> Iterator[int]:
    """Serve on a free port; one request makes everybody wait for a while, or is refused."""
    lock, asked = Lock(), iter(range(10**9))

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                number = next(asked)
                if number == stall_at:
                    time.sleep(STALL)
            self.send_response(503 if number == refuse_at else 200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *arguments):
            pass

        def handle(self):
            with suppress(ConnectionError):  # clients leave when they have what they want
                super().handle()

    server = _Threads(("127.0.0.1", 0), Answer)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(port: int, rate: float = 200, seconds: float = 1.0) -> openloop.Latencies:
    """Ask the toy server at a rate."""
    return openloop.run(
        "127.0.0.1", port, "/", [b"{}", b"[]"], rate=rate, seconds=seconds, connections=8
    )


def test_open_loop_charges_a_stall_to_all_who_were_due_meanwhile():
    """Not only to the one under way: with few connections the others wait to be sent."""
    with toy(stall_at=60) as port:
        found = ask(port)
    due = openloop.schedule(200, 1.0, 1)
    began = due[60]
    hit = sum(began <= moment < began + STALL / 2 for moment in due) / len(due)
    assert hit > 0.1, "the schedule has enough requests in the stall for p90 to show it"
    assert found.requests == len(due)
    assert found.max_ms >= 1000 * STALL * 0.95
    assert found.p90_ms >= 1000 * STALL / 2


def test_open_loop_of_a_quick_server_is_quick():
    """So that what the test above sees is the server's."""
    with toy() as port:
        found = ask(port)
    assert found.failed == 0
    assert found.p50_ms < 1000 * STALL / 4
    assert 0 < found.cpu_share <= 1


def test_open_loop_counts_answers_that_are_not_2xx():
    """One refusal is one failure."""
    with toy(refuse_at=5) as port:
        assert ask(port, seconds=0.2).failed == 1


def test_callers_wait_for_their_last_answer_and_count_its_time():
    """Else a server of a few answers a second would be measured by how many happen to fit."""

    def ask(connections, body):
        return post(connections[0], "/", body)

    with toy(stall_at=0) as port:
        callers = Callers(ask, [port], [b"{}"], seconds=STALL / 4)
        spent = callers.run(1)
    assert callers.failures == []
    assert len(callers.took) == 1
    assert spent >= STALL


def test_callers_fail_by_any_answer_that_is_not_200():
    """With what the server said."""
    with toy(refuse_at=0) as port:
        callers = Callers(lambda c, body: post(c[0], "/", body), [port], [b"{}"], seconds=0.2)
        callers.run(1)
    assert callers.failures == ["/ answered 503: b'{}'"]


def test_a_server_answers_in_its_turns_alone_and_ends_with_the_run(tmp_path):
    """Paused it takes nothing, so it falls on nobody else."""
    port = free_port()
    server = Server(
        name="files",
        command=[sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"],
        port=port,
        ready="/",
        env={},
        cwd=tmp_path,
        log=tmp_path / "log",
    )
    url = f"http://127.0.0.1:{port}/"
    with running([server], settled=False):
        assert server.started_in > 0
        processes = server.processes()
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(url, timeout=0.3)
        server.resume()
        assert httpx.get(url, timeout=10).status_code == httpx.codes.OK
        server.pause()
    assert wait_or_kill(processes, within=0) == []


def test_a_server_that_does_not_start_says_what_it_logged(tmp_path):
    """Rather than to wait for it."""
    server = Server(
        name="broken",
        command=[sys.executable, "-c", "raise SystemExit('no such model')"],
        port=free_port(),
        ready="/",
        env={},
        cwd=Path(tmp_path),
        log=tmp_path / "log",
    )
    with pytest.raises(RuntimeError, match="no such model"), running([server]):
        pass
