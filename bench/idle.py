"""Connections that have had an answer and ask for nothing: what each takes of the memory of all processes of its server."""

from __future__ import annotations

import contextlib
import resource
import socket
import ssl
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from bench.load import Over
from bench.processes import settle
from bench.rounds import serving
from bench.servers import NGINX, ONEBOX, SPARE, Server, Tools
from bench.workloads import WORKLOADS, Workload

CONNECTIONS = 10_000
FILE = next(workload for workload in WORKLOADS if workload.path == "/static/1k.css")
END_OF_FILE = b"...."


@dataclass(frozen=True)
class Idle:
    """Bytes for each connection to one server."""

    server: Server
    plain: float
    tls: float


def measure_idle(tools: Tools, folder: Path) -> tuple[int, list[Idle]]:
    """How many connections there were, and what they took: each time in processes that have just begun."""
    _, descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    # The engine keeps as many descriptors for files and upstreams as for clients.
    count = min(CONNECTIONS, descriptors // 2 - SPARE)

    def each(server: Server, over: Over) -> float:
        workload = replace(FILE, name=f"idle {over.value}", over=over, connections=count)
        return _bytes_of_each(server, workload, tools, folder)

    return count, [Idle(server, each(server, Over.PLAIN), each(server, Over.TLS)) for server in (NGINX, ONEBOX)]


def _bytes_of_each(server: Server, workload: Workload, tools: Tools, folder: Path) -> float:
    # Nobody has signed the servers' certificate.
    trusting = ssl._create_unverified_context()
    with serving(server, workload, tools, folder) as (group, url), contextlib.ExitStack() as opened:
        port = urlsplit(url).port
        before = group.pss_bytes()
        for _ in range(workload.connections):
            client = opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            if workload.over.is_encrypted:
                client = opened.enter_context(trusting.wrap_socket(client))
            client.sendall(f"GET {workload.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            answer = b""
            while not answer.endswith(END_OF_FILE):
                piece = client.recv(4096)
                if not piece:
                    raise RuntimeError(f"{url}: an answer ends early\n{group.log()}")
                answer += piece
        settle(group)
        return (group.pss_bytes() - before) / workload.connections
