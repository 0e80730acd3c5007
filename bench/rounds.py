"""The rounds: the servers of a workload side by side, taking turns under load."""

from __future__ import annotations

import contextlib
import shutil
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bench.load import Load, Sample, first_answer_s, put_under_load
from bench.processes import Group, settle
from bench.servers import Place, Server, Tools, make_certificate
from bench.workloads import Workload

SITES = Path(__file__).with_name("sites")


@dataclass(frozen=True)
class Result:
    """The samples of one server, a round each."""

    server: Server
    samples: list[Sample]

    def median(self, figure: Callable[[Sample], float]) -> float:
        return statistics.median(figure(sample) for sample in self.samples)

    def cpu_ratios(self, peer: Result) -> list[float]:
        """CPU time a request as a multiple of the peer's, round by round."""
        return [mine.cpu_us / other.cpu_us for mine, other in zip(self.samples, peer.samples)]


def measure(workload: Workload, tools: Tools, folder: Path, load: Load, rounds: int) -> list[Result]:
    """Starts the workload's servers, and has each take its turn in every round."""
    load = workload.shape(load)
    results = [Result(server, []) for server in workload.servers]
    with contextlib.ExitStack() as running:
        turns = [(result, *running.enter_context(serving(result.server, workload, tools, folder))) for result in results]
        for _, group, url in turns:
            put_under_load(group, url, replace(load, seconds=1))
        for number in range(rounds):
            # Each round begins with another server, so that none always follows the same one.
            first = number % len(turns)
            for result, group, url in turns[first:] + turns[:first]:
                result.samples.append(put_under_load(group, url, load))
    return results


@contextlib.contextmanager
def serving(server: Server, workload: Workload, tools: Tools, folder: Path) -> Iterator[tuple[Group, str]]:
    """A server that serves the workload's site, and the URL to ask for."""
    place = make_place(server, workload, tools, folder)
    with Group(server.commands(tools, place), {}, place.folder / "server.log") as group:
        first_answer_s(group, place.port, workload.path, time.monotonic(), tls=workload.over.is_encrypted)
        settle(group)
        yield group, f"{'https' if workload.over.is_encrypted else 'http'}://127.0.0.1:{place.port}{workload.path}"


def make_place(server: Server, workload: Workload, tools: Tools, folder: Path) -> Place:
    """A copy of the site for this server alone."""
    name = "".join(letter if letter.isalnum() else "-" for letter in f"{workload.name} {server.name}")
    home = folder / name
    site = home / "site"
    shutil.copytree(SITES / workload.site, site, ignore=shutil.ignore_patterns("__pycache__"))
    if workload.prepare:
        workload.prepare(tools, site)
    certificate = make_certificate(home) if workload.over.is_encrypted else None
    return Place(site=site, folder=home, port=free_port(), certificate=certificate, connections=workload.connections)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
