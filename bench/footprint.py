"""What does not depend on load: the time to the first answer, the time of a deploy, memory at rest."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from bench.load import first_answer_s
from bench.processes import Group, settle
from bench.rounds import free_port, make_place
from bench.servers import Server, Tools
from bench.workloads import PYTHON_SERVERS, WORKLOADS, Workload

EXAMPLE = Path(__file__).parents[1] / "examples" / "flask"
FLASK = next(workload for workload in WORKLOADS if workload.site == "flask_json")


@dataclass(frozen=True)
class Rest:
    """One server with the Flask site, asked once and left alone."""

    server: Server
    first_answers_s: list[float]
    pss_bytes: int


@dataclass(frozen=True)
class Appliance:
    """The appliance with the example in Flask."""

    deploys_s: list[float]
    """Of the unchanged site."""
    first_answers_s: list[float]
    """From the start of `onebox serve`."""
    pss_bytes: int
    interpreter_bytes: int
    """Of the same Python, with the same site imported and nothing else."""


def rest_of(server: Server, tools: Tools, folder: Path, rounds: int, workload: Workload = FLASK) -> Rest:
    starts = []
    place = make_place(server, workload, tools, folder / "at-rest")
    for _ in range(rounds):
        began = time.monotonic()
        with Group(server.commands(tools, place), {}, place.folder / "server.log") as group:
            starts.append(first_answer_s(group, place.port, workload.path, began))
            settle(group)
            pss_bytes = group.pss_bytes()
    return Rest(server, starts, pss_bytes)


def servers_at_rest(tools: Tools, folder: Path, rounds: int) -> list[Rest]:
    return [rest_of(server, tools, folder, rounds) for server in PYTHON_SERVERS]


def appliance_with_flask(tools: Tools, folder: Path, rounds: int) -> Appliance:
    state = folder / "state"
    port = free_port()
    env = {
        "ONEBOX_STATE_DIR": str(state),
        "ONEBOX_CONFIG_DIR": str(folder),
        "ONEBOX_HTTP": f"127.0.0.1:{port}",
        "ONEBOX_ADMIN": "127.0.0.1:0",
    }
    serve = [[str(tools.onebox), "serve"]]
    log = folder / "appliance.log"

    def onebox(*arguments: str) -> str:
        command = [str(tools.onebox), *arguments]
        return subprocess.run(
            command, env={**os.environ, **env}, check=True, capture_output=True, text=True, timeout=300
        ).stdout

    with Group(serve, env, log) as group:
        wait_for_control_socket(state, group)
        onebox("deploy", str(EXAMPLE), "--name", "flask")
        deploys = []
        for _ in range(rounds):
            began = time.monotonic()
            onebox("deploy", str(EXAMPLE), "--name", "flask")
            deploys.append(time.monotonic() - began)
    starts = []
    for _ in range(rounds):
        began = time.monotonic()
        with Group(serve, env, log) as group:
            starts.append(first_answer_s(group, port, "/", began))
            settle(group)
            pss_bytes = group.pss_bytes()
    newest = max((state / "sites" / "flask" / "releases").iterdir())
    return Appliance(deploys, starts, pss_bytes, interpreter_bytes(newest, log))


def wait_for_control_socket(state: Path, group: Group, limit_s: float = 30) -> None:
    end = time.monotonic() + limit_s
    while not (state / "run" / "control.sock").exists():
        group.check()
        if time.monotonic() > end:
            raise RuntimeError(f"the appliance does not start:\n{group.log()}")
        time.sleep(0.01)


def interpreter_bytes(release: Path, log: Path) -> int:
    """What the release's Python takes with the site imported, and nothing that serves it."""
    ready = "import app, time; print('imported', flush=True); time.sleep(60)"
    command = [str(release / "venv" / "bin" / "python"), "-c", ready]
    own_log = log.with_name("interpreter.log")
    with Group([["env", f"--chdir={release / 'app'}", *command]], {}, own_log) as group:
        while "imported" not in group.log():
            group.check()
            time.sleep(0.05)
        settle(group)
        return group.pss_bytes()
