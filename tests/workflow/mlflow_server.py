"""MLflow servers for tests: on a port of their own, to be killed and started again."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A server with one worker, its database and its files in one folder.

    Parameters
    ----------
    home : Path
        Where it keeps all of it.
    arguments : str
        More arguments for ``mlflow server``.
    environment : str
        More variables.
    """

    def __init__(self, home: Path, *arguments: str, **environment: str) -> None:
        home.mkdir(exist_ok=True)
        self.home, self.port = home, free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self._arguments, self._environment = arguments, environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", "1", *self._arguments]
        if "--backend-store-uri" not in command:
            command += ["--backend-store-uri", "sqlite:///mlflow.db"]
        with (self.home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.home, stdout=log, stderr=log, start_new_session=True,
                env=os.environ | self._environment,
            )  # fmt: skip
        for _ in range(480):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.address}/health", timeout=5)
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.25)
        pytest.fail((self.home / "server.log").read_text())

    def stop(self) -> None:
        """Kill it, in the middle of whatever it does."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(timeout=30)
            self._process = None


@contextlib.contextmanager
def serving(home: Path, *arguments: str, **environment: str) -> Iterator[Server]:
    """Run a server for a while."""
    server = Server(home, *arguments, **environment)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def guarded(behind: str, token: str) -> Iterator[str]:
    """Run a reverse proxy that passes on only what brings the token."""

    class Guard(BaseHTTPRequestHandler):
        def _pass_on(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(size)
            if self.headers.get("Authorization") != f"Bearer {token}":
                self._answer(401, "text/plain", b"who are you?")
                return
            kept = {k: v for k, v in self.headers.items()
                    if k.lower() not in ("host", "authorization")}  # fmt: skip
            request = urllib.request.Request(
                behind + self.path, data=body if size else None, headers=kept,
                method=self.command,
            )  # fmt: skip
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    kind = answer.headers.get("Content-Type", "text/plain")
                    self._answer(answer.status, kind, answer.read())
            except urllib.error.HTTPError as error:
                kind = error.headers.get("Content-Type", "text/plain")
                self._answer(error.code, kind, error.read())

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Guard)
    thread = threading.Thread(target=proxy.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}"
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()
