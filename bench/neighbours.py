"""What requests of one site do to others in the same process: a thread that is stuck, a C library that keeps the GIL."""

from __future__ import annotations

import http.client
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.load import Load, put_under_load
from bench.rounds import serving
from bench.servers import EMBEDDED, ISOLATED, Server, Tools
from bench.workloads import Workload, make_files

SITE = Workload("Neighbours", "neighbours", "/", prepare=make_files)
ONE_BY_ONE = Load(connections=1, seconds=3)
HELD_S = 2.0


@dataclass(frozen=True)
class Neighbours:
    """One server, in every round free first and then disturbed."""

    server: Server
    free_p99_ms: list[float]
    stuck_p99_ms: list[float]
    """Of the fast view while one of the threads sleeps."""
    held_ms: list[float]
    """The slowest file while Python code keeps the GIL."""

    def stuck_ratios(self) -> list[float]:
        return [stuck / free for stuck, free in zip(self.stuck_p99_ms, self.free_p99_ms)]


def measure_neighbours(tools: Tools, folder: Path, rounds: int) -> list[Neighbours]:
    return [_measure(server, tools, folder, rounds) for server in (EMBEDDED, ISOLATED)]


def _measure(server: Server, tools: Tools, folder: Path, rounds: int) -> Neighbours:
    result = Neighbours(server, [], [], [])
    with serving(server, SITE, tools, folder) as (group, url):
        for _ in range(rounds):
            result.free_p99_ms.append(put_under_load(group, url, ONE_BY_ONE).p99_ms)
            with Asked(f"{url}sleep?s={ONE_BY_ONE.seconds + 1}"):
                result.stuck_p99_ms.append(put_under_load(group, url, ONE_BY_ONE).p99_ms)
            with Asked(f"{url}hold?s={HELD_S}") as held:
                # Long enough for the request to be in the view, short enough to be back before it ends.
                time.sleep(HELD_S / 4)
                result.held_ms.append(_slowest_ms(f"{url}static/1k.css", time.monotonic() + HELD_S / 2))
                if held.answered:
                    raise RuntimeError("the GIL was not held: its request is over")
    return result


class Asked:
    """A request that is under way during the block; the block's end waits for its answer."""

    def __init__(self, url: str) -> None:
        self.answered = False
        self._thread = threading.Thread(target=self._ask, args=(url,))

    def __enter__(self) -> Asked:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def _ask(self, url: str) -> None:
        _get(url)
        self.answered = True


def _slowest_ms(url: str, until: float) -> float:
    """The slowest of answers that are asked for one after the other."""
    slowest = 0.0
    while time.monotonic() < until:
        began = time.monotonic()
        _get(url)
        slowest = max(slowest, time.monotonic() - began)
    return slowest * 1e3


def _get(url: str) -> None:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}")
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{url}: {answer.status}")
    finally:
        connection.close()
