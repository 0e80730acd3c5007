"""The load: wrk, for HTTP/2 h2load, for handshakes openssl, with one thread, as fast as the server answers."""

from __future__ import annotations

import http.client
import json
import re
import ssl
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.processes import Group

SCRIPT = Path(__file__).with_name("wrk.lua")
STREAMS = 10


class Over(Enum):
    """What carries the requests."""

    PLAIN = "http"
    TLS = "https"
    HTTP2 = "https, HTTP/2"
    """With `STREAMS` requests at a time on each connection."""
    HANDSHAKES_1_2 = "-tls1_2"
    """A connection for each request, one after the other, none of which resumes a session."""
    HANDSHAKES_1_3 = "-tls1_3"

    @property
    def is_encrypted(self) -> bool:
        return self is not Over.PLAIN


@dataclass(frozen=True)
class Load:
    """How a server is asked."""

    connections: int
    seconds: int
    body_bytes: int = 0
    accept_encoding: str = ""
    over: Over = Over.PLAIN


@dataclass(frozen=True)
class Sample:
    """What one turn of a server showed."""

    requests: int
    per_s: float
    cpu_us: float
    p50_ms: float
    p99_ms: float


def put_under_load(group: Group, url: str, load: Load) -> Sample:
    """One turn under load.

    Raises where an answer was an error: what fails is quick, and its figure means nothing.
    """
    before = group.cpu_s()
    said = _said(url, load)
    cpu_s = group.cpu_s() - before
    errors = {kind: count for kind, count in said["errors"].items() if count}
    if errors or not said["requests"]:
        raise RuntimeError(f"{url}: {said['requests']} answers, errors {errors}\n{group.log()}")
    return Sample(
        requests=said["requests"],
        per_s=said["requests"] / (said["duration_us"] / 1e6),
        cpu_us=cpu_s * 1e6 / said["requests"],
        p50_ms=said["p50_us"] / 1e3,
        p99_ms=said["p99_us"] / 1e3,
    )


def _said(url: str, load: Load) -> dict[str, Any]:
    match load.over:
        case Over.PLAIN | Over.TLS:
            return _wrk(url, load)
        case Over.HTTP2:
            return _h2load(url, load)
        case Over.HANDSHAKES_1_2 | Over.HANDSHAKES_1_3:
            return _s_time(url, load)


def _wrk(url: str, load: Load) -> dict[str, Any]:
    # Of two clients of a large file one can wait for seconds while the other takes it from memory.
    command = ["wrk", "-t1", f"-c{load.connections}", f"-d{load.seconds}s", "--timeout=30s", "-s", str(SCRIPT), url]
    run = subprocess.run(
        [*command, "--", str(load.body_bytes), load.accept_encoding],
        check=True,
        capture_output=True,
        text=True,
        timeout=load.seconds + 60,
    )
    said: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return said


def _h2load(url: str, load: Load) -> dict[str, Any]:
    """What wrk's script would say."""
    with tempfile.NamedTemporaryFile("r") as log:
        command = ["h2load", "-t1", f"-c{load.connections}", f"-m{STREAMS}", f"-D{load.seconds}", f"--log-file={log.name}"]
        run = subprocess.run([*command, url], check=True, capture_output=True, text=True, timeout=load.seconds + 60)
        # Start, status, and how long it took in microseconds.
        rows = [line.split("\t") for line in log.read().splitlines()]
    percentiles = statistics.quantiles([int(row[2]) for row in rows], n=100)
    counted = dict((kind, int(count)) for count, kind in re.findall(r"(\d+) (failed|errored|timeout)", run.stdout))
    return {
        "requests": len(rows),
        "duration_us": load.seconds * 1e6,
        "errors": {**counted, "status": sum(row[1] != "200" for row in rows)},
        "p50_us": percentiles[49],
        "p99_us": percentiles[98],
    }


def _s_time(url: str, load: Load) -> dict[str, Any]:
    """What wrk's script would say; of times there is only the mean."""
    parts = urlsplit(url)
    command = ["openssl", "s_time", "-new", load.over.value, "-connect", parts.netloc, "-www", parts.path]
    run = subprocess.run(
        [*command, "-time", str(load.seconds)], check=True, capture_output=True, text=True, timeout=load.seconds + 60
    )
    said = re.search(r"(\d+) connections in \d+ real seconds, (\d+) bytes read per connection", run.stdout)
    if not said:
        raise RuntimeError(f"{url}: no handshake\n{run.stdout}{run.stderr}")
    count, size = int(said[1]), int(said[2])
    mean_us = load.seconds * 1e6 / max(count, 1)
    return {
        "requests": count,
        "duration_us": load.seconds * 1e6,
        # It does not look at what it reads: an error page is shorter than the file.
        "errors": {"short": int(size < 1 << 10)},
        "p50_us": mean_us,
        "p99_us": mean_us,
    }


def first_answer_s(
    group: Group, port: int, path: str, began: float, host: str = "127.0.0.1", limit_s: float = 60, tls: bool = False
) -> float:
    """How long after `began` the first good answer came."""
    # Each server has a certificate of its own making.
    trusting = ssl._create_unverified_context()
    while True:
        try:
            connection = (
                http.client.HTTPSConnection("127.0.0.1", port, timeout=limit_s, context=trusting)
                if tls
                else http.client.HTTPConnection("127.0.0.1", port, timeout=limit_s)
            )
            connection.request("GET", path, headers={"Host": host})
            if connection.getresponse().status == 200:
                return time.monotonic() - began
        except (ConnectionError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        group.check()
        if time.monotonic() - began > limit_s:
            raise RuntimeError(f"no answer on port {port}:\n{group.log()}")
        time.sleep(0.005)
