"""What `processes = "auto"` gives under load where cores are free, and that it takes it back."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path

from bench.footprint import FLASK
from bench.load import Load, put_under_load
from bench.processes import Group
from bench.rounds import serving
from bench.servers import AUTO, SINGLE, Tools

GROWN_AFTER_S = 8
SHRUNK_WITHIN_S = 60


@dataclass(frozen=True)
class Adapting:
    """Requests a second, round by round: of one process, and beside it of as many as the site's load made."""

    one_per_s: list[float]
    auto_per_s: list[float]
    processes: int
    """Under load."""
    back_after_s: float
    """From the end of the load to one process."""

    def gains(self) -> list[float]:
        return [auto / one for auto, one in zip(self.auto_per_s, self.one_per_s)]


def measure_adapting(tools: Tools, folder: Path, load: Load, rounds: int) -> Adapting:
    one_per_s, auto_per_s, processes = [], [], []
    # Python has to be what the cores are busy with, not the load generator.
    load = replace(load, connections=8)
    with (
        serving(SINGLE, FLASK, tools, folder) as (single, single_url),
        serving(AUTO, FLASK, tools, folder) as (auto, auto_url),
    ):
        alone = auto.size()
        for _ in range(rounds):
            one_per_s.append(put_under_load(single, single_url, load).per_s)
            put_under_load(auto, auto_url, replace(load, seconds=GROWN_AFTER_S))
            auto_per_s.append(put_under_load(auto, auto_url, load).per_s)
            processes.append(1 + auto.size() - alone)
        back_after_s = _back_after_s(auto, alone)
    return Adapting(one_per_s, auto_per_s, int(statistics.median(processes)), back_after_s)


def _back_after_s(group: Group, alone: int) -> float:
    began = time.monotonic()
    while group.size() > alone:
        if time.monotonic() - began > SHRUNK_WITHIN_S:
            raise RuntimeError(f"it keeps more than one process:\n{group.log()}")
        time.sleep(0.2)
    return time.monotonic() - began
