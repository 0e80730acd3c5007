"""A box at home: many sites, of which few are asked for anything."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.footprint import EXAMPLE, wait_for_control_socket
from bench.load import first_answer_s
from bench.processes import Group, settle
from bench.rounds import free_port
from bench.servers import Tools

SITES = 10
ASLEEP = 8


@dataclass(frozen=True)
class HomeLab:
    """An appliance with Flask sites."""

    pss_bytes: int
    """Of all its processes, when the idle sites sleep."""
    wake_s: list[float]
    """Until a site that sleeps has answered."""


def measure_home_lab(tools: Tools, folder: Path) -> HomeLab:
    state, port = folder / "home-lab", free_port()
    env = {
        "ONEBOX_STATE_DIR": str(state),
        "ONEBOX_CONFIG_DIR": str(folder),
        "ONEBOX_HTTP": f"127.0.0.1:{port}",
        "ONEBOX_ADMIN": "127.0.0.1:0",
    }

    def onebox(*arguments: str) -> str:
        command = [str(tools.onebox), *arguments]
        return subprocess.run(
            command, env={**os.environ, **env}, check=True, capture_output=True, text=True, timeout=300
        ).stdout

    def sleeping() -> list[str]:
        sites: list[dict[str, Any]] = json.loads(onebox("status", "--json"))["sites"]
        return [site["name"] for site in sites if not site["workers"]]

    with Group([[str(tools.onebox), "serve"]], env, folder / "home-lab.log") as group:
        wait_for_control_socket(state, group)
        for number in range(SITES):
            onebox("deploy", str(_site(folder, number)))
        end = time.monotonic() + 120
        while len(sleeping()) < ASLEEP:
            group.check()
            if time.monotonic() > end:
                raise RuntimeError(f"only {sleeping()} sleep:\n{group.log()}")
            time.sleep(0.2)
        settle(group)
        pss_bytes = group.pss_bytes()
        wake_s = [first_answer_s(group, port, "/", time.monotonic(), host=f"{name}.localhost") for name in sleeping()]
    return HomeLab(pss_bytes, wake_s)


def _site(folder: Path, number: int) -> Path:
    """A copy of the example; the first ones may sleep."""
    site = folder / f"home-{number}"
    shutil.copytree(EXAMPLE, site, ignore=shutil.ignore_patterns("__pycache__", "*.db", "instance"))
    idle = 'idle = "2s"\n' if number < ASLEEP else ""
    config = site / "onebox.toml"
    config.write_text(f'isolation = "process"\n{idle}{config.read_text()}')
    return site
