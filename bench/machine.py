"""What was measured, and where."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from bench.servers import Tools


def versions(tools: Tools) -> list[str]:
    """The programs, each with its version."""
    packages = [f"{name} {metadata.version(name)}" for name in ("uWSGI", "granian", "Flask", "Django")]
    return [
        _first_line([str(tools.onebox), "version"]),
        f"CPython {platform.python_version()}",
        _first_line([tools.nginx, "-v"]).replace("nginx version: nginx/", "nginx "),
        *packages,
        _first_line(["wrk", "-v"]).split(" [")[0].replace("debian/", ""),
        _first_line(["h2load", "--version"]),
    ]


def description() -> str:
    """Processor, cores, memory and kernel."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return f"{os.cpu_count()} cores ({model}), {memory_gb:.0f} GB, Linux {platform.release()}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _first_line(command: list[str]) -> str:
    # Some tell their version on standard error, and wrk ends with 1.
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
    return run.stdout.splitlines()[0]
