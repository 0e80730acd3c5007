"""What it costs to count a request: `crates/metrics/benches/counting.rs`."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Counting:
    """Nanoseconds a request, on one thread, and on each of two that count for the same site."""

    alone_ns: float
    shared_ns: float


def measure_counting() -> Counting:
    command = ["cargo", "bench", "--quiet", "--locked", "--package", "onebox-metrics", "--bench", "counting"]
    done = subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.PIPE, text=True, timeout=900)
    return Counting(**json.loads(done.stdout))
