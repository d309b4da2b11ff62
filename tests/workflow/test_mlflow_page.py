"""MLflow as people meet it: a server, its pages in a browser, several at once."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracking_results import make_results

pytestmark = pytest.mark.workflow

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)
TRACK = [sys.executable, "-c", "from whatelse.cli import entry; entry()", "track"]


@contextlib.contextmanager
def server(home: Path) -> Iterator[str]:
    """Serve the runs of a working folder as ``make ui`` does; yield the address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--backend-store-uri", "sqlite:///mlflow.db", "--port", str(port)]
    log = (home / "server.log").open("w")
    process = subprocess.Popen(
        [*command, "--workers", "1"], cwd=home, stdout=log, stderr=log,
        start_new_session=True,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/health", timeout=30)
                break
            assert process.poll() is None, (home / "server.log").read_text()
            time.sleep(0.25)
        else:
            pytest.fail((home / "server.log").read_text())
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)
        log.close()


def track(home: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [*TRACK, "tiny.yaml", "--results", "results", *arguments]
    return subprocess.Popen(
        command, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert err == ""
    return out


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
def test_newcomer_finds_runs_a_metric_and_a_figure(tmp_path: Path) -> None:
    from playwright.sync_api import expect, sync_playwright

    make_results(tmp_path)
    finish(track(tmp_path, "--out", "runs.json"))
    index = json.loads((tmp_path / "runs.json").read_text())
    parent = index["parent"]["run_id"]
    experiment = index["experiment"]
    with server(tmp_path) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        context = browser.new_context(viewport={"width": 1600, "height": 1000})
        context.set_default_timeout(120_000)
        # MLflow's tour of its traces opens over the page, some seconds after it
        context.add_init_script(
            "localStorage.setItem('mlflow.detectIssues.guidanceShown_v1', 'true')"
        )
        page = context.new_page()
        expect.set_options(timeout=120_000)

        # from the front page to the study, and by its description to the attacks
        page.goto(address)
        page.get_by_role("link", name=experiment["name"], exact=True).first.click()
        link = page.get_by_role("link", name="attacks side by side").first
        expect(link).to_have_attribute(
            "href", re.compile(re.escape(experiment["page"]))
        )
        # a page of its own: the first may still be on its way to MLflow's default tab
        page.close()
        page = context.new_page()
        page.goto(f"{address}/{experiment['page']}")
        for members, auc in ((10, "0.61"), (20, "0.31")):
            name = f"attack shadow · members {members}"
            expect(page.get_by_role("link", name=name)).to_be_visible()
            expect(page.get_by_role("gridcell", name=auc).first).to_be_visible()
        page.screenshot(path=tmp_path / "attacks.png")

        page.get_by_role("link", name="attack shadow · members 10").click()
        expect(page.get_by_text("attack/auc").first).to_be_visible()
        page.screenshot(path=tmp_path / "attack.png")

        runs = f"{address}/#/experiments/{experiment['id']}/runs/{parent}"
        page.goto(runs)
        children = page.get_by_role(
            "link", name=re.compile("^(attack|target|shadows) ")
        )
        expect(children.first).to_be_visible()
        page.screenshot(path=tmp_path / "study.png")
        page.goto(f"{runs}/artifacts/figures/size/figure.png")
        picture = page.locator("img[src^='blob:'], img[src*='figure.png']").first
        expect(picture).to_be_visible()
        assert picture.evaluate("image => image.naturalWidth") == 320
        page.screenshot(path=tmp_path / "figure.png")
        browser.close()


def test_through_a_server_nothing_is_doubled_either(tmp_path: Path) -> None:
    make_results(tmp_path)
    finish(track(tmp_path, "--uri", f"sqlite:///{tmp_path}/mlflow.db"))
    (tmp_path / "mlflow.db").rename(tmp_path / "local.db")
    with server(tmp_path) as address:
        first = finish(track(tmp_path, "--uri", address, "--out", "runs.json"))
        assert "11 new, 10 completed" in first
        second = finish(track(tmp_path, "--uri", address))
        assert "0 new, 0 completed, 0 superseded" in second
        index = json.loads((tmp_path / "runs.json").read_text())
        parent = index["parent"]["run_id"]
        url = f"{address}/get-artifact?path=figures/size/figure.png&run_uuid={parent}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            expected = tmp_path / "results/figures/tiny/size/figure.png"
            assert answer.read() == expected.read_bytes()


def test_several_trackers_on_no_database_yet(tmp_path: Path) -> None:
    make_results(tmp_path)
    lines = [finish(process) for process in [track(tmp_path) for _ in range(4)]]
    assert sum("11 new" in line for line in lines) == 1
    assert sum("0 new, 0 completed" in line for line in lines) == 3


def test_killed_while_the_database_is_made(tmp_path: Path) -> None:
    make_results(tmp_path)
    for seconds in (1.5, 2.5, 3.5, 4.5):
        process = track(tmp_path)
        time.sleep(seconds)
        process.kill()
        process.communicate()
    finish(track(tmp_path, "--out", "runs.json"))
    assert "nothing new" in finish(track(tmp_path, "--out", "runs.json"))


def test_no_server_is_one_clear_line(tmp_path: Path) -> None:
    make_results(tmp_path)
    process = track(tmp_path, "--uri", "http://127.0.0.1:9")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert err.startswith("error: http://127.0.0.1:9: no usable tracking store")
    assert err.count("\n") == 1
