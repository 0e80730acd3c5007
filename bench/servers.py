"""The servers, each as its users would set it up: two processes with four threads, or eight threads where there is one.

Access logs of the others are off; onebox writes its own, as it always does.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import run

PROCESSES = 2
THREADS = 4


@dataclass(frozen=True)
class Tools:
    """Where the programs are."""

    onebox: Path
    venv: Path

    @property
    def nginx(self) -> str:
        """Debian keeps it where a user's PATH does not look."""
        return shutil.which("nginx") or "/usr/sbin/nginx"

    def program(self, name: str) -> str:
        """A program of the virtual environment."""
        return str(self.venv / "bin" / name)


@dataclass(frozen=True)
class Place:
    """Where one server serves one site."""

    site: Path
    """The site's folder: `app.py` with `application`, `static/` for what needs no Python."""
    folder: Path
    """For configuration, sockets and logs."""
    port: int


@dataclass(frozen=True)
class Server:
    """One column of the tables."""

    name: str
    commands: Callable[[Tools, Place], list[list[str]]]
    """Writes what configuration is needed; the commands to start."""


def nginx(tools: Tools, place: Place) -> list[list[str]]:
    return _nginx(tools, place, "return 404;")


def nginx_http2(tools: Tools, place: Place) -> list[list[str]]:
    """With a key like the one that onebox makes for itself."""
    key, certificate = place.folder / "key.pem", place.folder / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    run([*made, "-subj", "/CN=127.0.0.1", "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return _nginx(tools, place, "return 404;", f"ssl http2; ssl_certificate {certificate}; ssl_certificate_key {key}")


def nginx_uwsgi(tools: Tools, place: Place) -> list[list[str]]:
    socket = place.folder / "uwsgi.sock"
    uwsgi = [tools.program("uwsgi"), "--master", "--die-on-term", "--need-app", "--disable-logging"]
    uwsgi += ["--socket", str(socket), "--chmod-socket=666"]
    uwsgi += ["--processes", str(PROCESSES), "--threads", str(THREADS)]
    uwsgi += ["--virtualenv", str(tools.venv), "--chdir", str(place.site)]
    uwsgi += ["--module", "app:application"]
    forward = f"include /etc/nginx/uwsgi_params; uwsgi_pass unix:{socket};"
    return [uwsgi, *_nginx(tools, place, forward)]


def granian(tools: Tools, place: Place) -> list[list[str]]:
    command = [tools.program("granian"), "--interface", "wsgi", "--no-ws"]
    command += ["--host", "127.0.0.1", "--port", str(place.port)]
    command += ["--workers", str(PROCESSES), "--blocking-threads", str(THREADS)]
    return [[*command, "--working-dir", str(place.site), "app:application"]]


def onebox_embedded(tools: Tools, place: Place) -> list[list[str]]:
    return _onebox(tools, place, f"threads = {PROCESSES * THREADS}\n")


def onebox_http2(tools: Tools, place: Place) -> list[list[str]]:
    return _onebox(tools, place, f"threads = {PROCESSES * THREADS}\n", listen=["--http", "127.0.0.1:0", "--https"])


def onebox_isolated(tools: Tools, place: Place) -> list[list[str]]:
    return _onebox(tools, place, f"processes = {PROCESSES}\nthreads = {THREADS}\n")


def onebox_single(tools: Tools, place: Place) -> list[list[str]]:
    return _onebox(tools, place, f'isolation = "process"\nthreads = {THREADS}\n')


def onebox_auto(tools: Tools, place: Place) -> list[list[str]]:
    return _onebox(tools, place, f'processes = "auto"\nthreads = {THREADS}\n')


NGINX = Server("nginx", nginx)
NGINX_HTTP2 = Server("nginx", nginx_http2)
NGINX_UWSGI = Server("nginx + uWSGI", nginx_uwsgi)
GRANIAN = Server("Granian", granian)
EMBEDDED = Server("onebox, embedded", onebox_embedded)
ISOLATED = Server("onebox, isolated", onebox_isolated)
SINGLE = Server("onebox, one process", onebox_single)
AUTO = Server("onebox, automatic", onebox_auto)
ONEBOX = Server("onebox", onebox_embedded)
ONEBOX_HTTP2 = Server("onebox", onebox_http2)


def _onebox(tools: Tools, place: Place, settings: str, listen: Sequence[str] = ("--http",)) -> list[list[str]]:
    config = place.folder / "onebox.toml"
    static = '[static]\n"/static" = "static"\n' if (place.site / "static").is_dir() else ""
    config.write_text(f'name = "bench"\nmodule = "app:application"\n{settings}{static}')
    command = [str(tools.onebox), "run", str(place.site), "--config", str(config)]
    command += ["--python", str(tools.venv), *listen, f"127.0.0.1:{place.port}"]
    return [[*command, "--state-dir", str(place.folder), "--config-dir", str(place.folder)]]


def _nginx(tools: Tools, place: Place, application: str, listen: str = "") -> list[list[str]]:
    folder = place.folder
    # As root its workers would become a user who can't read the folders of this run.
    user = "user root;" if os.geteuid() == 0 else ""
    paths = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    config = folder / "nginx.conf"
    config.write_text(
        f"""daemon off; {user} pid {folder}/nginx.pid; error_log {folder}/nginx.log;
worker_processes auto;
events {{ worker_connections 1024; }}
http {{
  include /etc/nginx/mime.types; {paths}
  access_log off; gzip on; gzip_types text/css; sendfile on; tcp_nopush on; keepalive_requests 1000000; client_max_body_size 100m;
  server {{
    listen 127.0.0.1:{place.port} {listen};
    location /static/ {{ root {place.site}; }}
    location / {{ {application} }}
  }}
}}
"""
    )
    return [[tools.nginx, "-p", str(folder), "-c", str(config), "-e", f"{folder}/nginx.log"]]
