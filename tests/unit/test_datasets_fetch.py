"""Fetching: mirrors, resume, digests; and the command's verbs."""

import argparse
import gzip
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import data_files
from whatelse.datasets import command
from whatelse.datasets.registry import entry_of, identify, read_registry
from whatelse.errors import UserError

CONTENT = np.random.default_rng(0).bytes(300_000)


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` at every path but those below /gone; may hang up half-way."""

    content = CONTENT
    hang_ups = 0
    ranges = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append((self.path, asked))
        if self.path.startswith("/gone"):
            self.send_error(404)
            return
        start = 0
        if asked and self.server.ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(self.server.content):
            self.send_error(416)
            return
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.hang_ups:
            self.server.hang_ups -= 1
            self.wfile.write(body[:65_536])
            self.wfile.flush()
            self.connection.close()
            return
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def whatelse(*arguments: str | Path) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    command.run(parser.parse_args([str(argument) for argument in arguments]))


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """A registry of one data set of one file, with the digest of CONTENT."""
    (tmp_path / "x.bin").write_bytes(CONTENT)
    return data_files.registry(
        tmp_path / "registry.yaml", "toy", {"x.bin": tmp_path / "x.bin"}, records=9
    )


def serve_from(registry: Path, *urls: str) -> None:
    text = registry.read_text()
    registry.write_text(
        text.replace("urls: []", f"urls: {json.dumps([f'{u}/x.bin' for u in urls])}")
    )


def test_a_mirror_folder_comes_first(
    tmp_path: Path, known: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_from(known, "http://127.0.0.1:9")
    (tmp_path / "mirror" / "toy").mkdir(parents=True)
    (tmp_path / "x.bin").rename(tmp_path / "mirror" / "toy" / "x.bin")
    monkeypatch.setenv("WHATELSE_MIRROR", str(tmp_path / "mirror"))
    raw = tmp_path / "raw"
    whatelse("fetch", "toy", "--raw", raw, "--registry", known)
    assert (raw / "toy" / "x.bin").read_bytes() == CONTENT
    listed = json.loads((raw / "toy" / "fetched.json").read_text())
    assert [file["path"] for file in listed["files"]] == ["toy/x.bin"]
    assert listed["trusted"] == {}
    whatelse("verify", "toy", "--raw", raw, "--registry", known)


def test_a_mirror_url_is_joined_and_originals_follow(
    tmp_path: Path, known: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHATELSE_MIRROR", f"{server.url}/gone/")
    serve_from(known, f"{server.url}/gone-too", f"{server.url}/here")
    whatelse("fetch", "toy", "--raw", tmp_path / "raw", "--registry", known)
    assert [path for path, _ in server.asked] == [
        "/gone/toy/x.bin",
        "/gone-too/x.bin",
        "/here/x.bin",
    ]
    names = sorted(path.name for path in (tmp_path / "raw" / "toy").iterdir())
    assert names == ["fetched.json", "x.bin"]


def test_a_mirror_may_keep_a_file_elsewhere(
    tmp_path: Path, known: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    known.write_text(
        known.read_text().replace("urls: []", "urls: []\n    mirrored: [2toys/y.bin]")
    )
    (tmp_path / "mirror" / "2toys").mkdir(parents=True)
    (tmp_path / "x.bin").rename(tmp_path / "mirror" / "2toys" / "y.bin")
    for number, mirror in enumerate([str(tmp_path / "mirror"), server.url]):
        monkeypatch.setenv("WHATELSE_MIRROR", mirror)
        raw = tmp_path / f"raw{number}"
        whatelse("fetch", "toy", "--raw", raw, "--registry", known)
        assert (raw / "toy" / "x.bin").read_bytes() == CONTENT
        assert [path.name for path in raw.iterdir()] == ["toy"]
        whatelse("verify", "toy", "--raw", raw, "--registry", known)


def test_a_digest_without_a_size_is_enough(tmp_path: Path, known: Path) -> None:
    known.write_text(known.read_text().replace("bytes: 300000", "bytes: null"))
    raw = tmp_path / "raw"
    (raw / "toy").mkdir(parents=True)
    (raw / "toy" / "x.bin").write_bytes(CONTENT)
    whatelse("fetch", "toy", "--raw", raw, "--registry", known)
    (raw / "toy" / "x.bin").write_bytes(b"other")
    with pytest.raises(UserError, match=r"wrong digest: .*; allowed: [0-9a-f]{64}$"):
        whatelse("verify", "toy", "--raw", raw, "--registry", known)


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_goes_on(
    tmp_path: Path, known: Path, server: Server, ranges: bool
) -> None:
    serve_from(known, server.url)
    server.hang_ups, server.ranges = 2, ranges
    whatelse("fetch", "toy", "--raw", tmp_path / "raw", "--registry", known)
    assert (tmp_path / "raw" / "toy" / "x.bin").read_bytes() == CONTENT
    starts = [asked for _, asked in server.asked]
    assert starts[0] is None
    second = "bytes=131072-" if ranges else "bytes=65536-"
    assert starts[1:] == ["bytes=65536-", second]


def test_a_failed_download_is_resumed_by_the_next_call(
    tmp_path: Path, known: Path, server: Server
) -> None:
    serve_from(known, server.url)
    server.hang_ups, server.ranges = 3, False
    arguments = ["fetch", "toy", "--raw", tmp_path / "raw", "--registry", known]
    with pytest.raises(UserError, match="is missing"):
        whatelse(*arguments)
    assert not (tmp_path / "raw" / "toy" / "x.bin").exists()
    server.asked.clear()
    server.ranges = True
    whatelse(*arguments)
    assert server.asked == [("/x.bin", "bytes=65536-")]
    assert (tmp_path / "raw" / "toy" / "x.bin").read_bytes() == CONTENT


def test_a_wrong_digest_is_named_and_leaves_nothing(
    tmp_path: Path, known: Path, server: Server
) -> None:
    serve_from(known, server.url)
    server.content = CONTENT[:-1] + b"x"
    with pytest.raises(UserError) as caught:
        whatelse("fetch", "toy", "--raw", tmp_path / "raw", "--registry", known)
    message = str(caught.value)
    assert message.startswith(f"{server.url}/x.bin: wrong digest: sha256 ")
    assert message.endswith("(300000 bytes)")
    assert "\n" not in message
    assert not (tmp_path / "raw" / "toy").exists()


def test_a_missing_file_says_how_to_get_it(
    tmp_path: Path, known: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHATELSE_MIRROR", str(tmp_path / "mirror"))
    url = f"{server.url}/gone"
    serve_from(known, url)
    raw = tmp_path / "raw"
    with pytest.raises(UserError) as caught:
        whatelse("fetch", "toy", "--raw", raw, "--registry", known)
    message = str(caught.value)
    assert message.startswith("toy: toy/x.bin is missing (not in WHATELSE_MIRROR=")
    assert "404" in message
    assert message.endswith(
        f"get it from {url}/x.bin and put it at {raw / 'toy' / 'x.bin'}, "
        "or let WHATELSE_MIRROR name a folder or URL that has it"
    )
    assert "\n" not in message
    assert not (raw / "toy").exists()


def test_a_file_put_by_hand_is_checked(tmp_path: Path, known: Path) -> None:
    raw = tmp_path / "raw"
    (raw / "toy").mkdir(parents=True)
    (raw / "toy" / "x.bin").write_bytes(b"other")
    with pytest.raises(UserError, match="wrong digest"):
        whatelse("fetch", "toy", "--raw", raw, "--trust", "--registry", known)
    (raw / "toy" / "x.bin").write_bytes(CONTENT)
    whatelse("fetch", "toy", "--raw", raw, "--registry", known)
    (raw / "toy" / "x.bin").write_bytes(b"changed later")
    with pytest.raises(UserError, match="wrong digest"):
        whatelse("verify", "toy", "--raw", raw, "--registry", known)


def test_an_unknown_digest_needs_trust_and_is_remembered(tmp_path: Path) -> None:
    registry = data_files.registry(
        tmp_path / "registry.yaml", "toy", {"x.bin": None}, records=9
    )
    raw = tmp_path / "raw"
    (raw / "toy").mkdir(parents=True)
    (raw / "toy" / "x.bin").write_bytes(CONTENT)
    arguments = ["toy", "--raw", raw, "--registry", registry]
    with pytest.raises(UserError, match="digest is not known to us .* give .* --trust"):
        whatelse("fetch", *arguments)
    whatelse("fetch", *arguments, "--trust")
    [listed] = json.loads((raw / "toy" / "fetched.json").read_text())["files"]
    assert listed["remark"] == f"digest not known to us: {listed['sha256']}"
    whatelse("verify", *arguments)
    (raw / "toy" / "x.bin").write_bytes(b"other")
    with pytest.raises(UserError, match="is not the file that was trusted"):
        whatelse("verify", *arguments)


def test_editions_are_told_apart_by_content_or_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(CONTENT, mtime=0))
    names = {"x.gz": path}
    as_is, unpacked = (
        read_registry(
            data_files.registry(
                tmp_path / f"{number}.yaml", "toy", names, records=9, content=content
            )
        )["toy"].files[0]
        for number, content in enumerate(["as is", "uncompressed"])
    )
    identify(path, as_is)
    path.write_bytes(gzip.compress(CONTENT, compresslevel=1, mtime=1))
    assert identify(path, unpacked).remark is None
    with pytest.raises(UserError, match="wrong digest"):
        identify(path, as_is)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UserError, match=r"x\.gz: truncated or damaged"):
        identify(path, unpacked)
    path.write_bytes(CONTENT)
    assert identify(path, unpacked).remark is None


def test_the_list_says_what_is_here(
    tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    registry = repository / "data" / "datasets.yaml"
    for file in read_registry(registry)["adult"].files:
        mirrored = tmp_path / "mirror" / file.paths[-1]
        mirrored.parent.mkdir(parents=True, exist_ok=True)
        mirrored.touch()
    monkeypatch.setenv("WHATELSE_MIRROR", str(tmp_path / "mirror"))
    (tmp_path / "location").mkdir()
    (tmp_path / "location" / "fetched.json").write_text("{}")
    whatelse("list", "--raw", tmp_path, "--registry", registry)
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert " here " in lines["digits"]
    assert " here " in lines["location"]
    assert " in the mirror " in lines["adult"]
    assert "5,010" in lines["location"]
    assert " to fetch " in lines["mnist"]
    assert " to fetch with --trust " in lines["texas100"]
    assert " Purchase " in lines["retail"]


def test_prepare_asks_for_fetching_first(tmp_path: Path, known: Path) -> None:
    text = known.read_text().replace("toy", "location")
    known.write_text(text)
    raw = tmp_path / "raw"
    with pytest.raises(UserError) as caught:
        whatelse(
            "prepare",
            *("--spec", '{"source": "location"}', "--raw", raw),
            *("--out", tmp_path / "out", "--registry", known),
        )
    assert str(caught.value) == (
        f"{raw}/location/fetched.json: missing: fetch the data first: "
        f"whatelse datasets fetch location --raw {raw}"
    )
    assert not (tmp_path / "out").exists()


def test_prepare_writes_the_artefact_and_telemetry(
    tmp_path: Path, repository: Path
) -> None:
    whatelse(
        "prepare",
        *("--spec", '{"source": "digits"}', "--raw", tmp_path / "raw"),
        *("--out", tmp_path / "out"),
        *("--registry", repository / "data" / "datasets.yaml"),
    )
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "inputs.npy",
        "labels.npy",
        "dataset.json",
        "record.json",
        "telemetry.json",
    }
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["kind"] == "prepare"
    assert record["spec"] == {"source": "digits"}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ('{"source": "retail", "classes": "1e-3"}', "--spec: classes: "),
        ('{"source": "digits", "colour": 3}', "--spec: colour: unknown key"),
        ("{", "Invalid JSON"),
    ],
)
def test_bad_settings_are_one_line(tmp_path: Path, spec: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        whatelse("prepare", "--spec", spec, "--raw", tmp_path, "--out", tmp_path / "o")
    assert str(caught.value).startswith("--spec: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_names_and_bad_registries_are_refused(
    tmp_path: Path, known: Path
) -> None:
    with pytest.raises(UserError, match="mnits: no such data set; allowed: toy"):
        whatelse("fetch", "toy", "mnits", "--raw", tmp_path, "--registry", known)
    with pytest.raises(UserError, match="the registry cannot be read"):
        read_registry(tmp_path / "none.yaml")
    whole = known.read_text()
    for change, message in {
        ("toy/x.bin", "../x.bin"): "String should match pattern",
        ("toy/x.bin", "other/x.bin"): "'other/x.bin'; allowed: 'toy/...'",
        (
            "records: 9",
            "records: many",
        ): "toy.records: Input should be a valid integer, got 'many'",
        ("records: 9", "record: 9"): "toy.record",
        ("toy:", "toy: ["): "not YAML",
    }.items():
        known.write_text(whole.replace(*change))
        with pytest.raises(UserError, match="registry.yaml: ") as caught:
            read_registry(known)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_the_registry_of_the_project_is_whole(repository: Path) -> None:
    registry = read_registry(repository / "data" / "datasets.yaml")
    for name in ("purchase100", "texas100", "facescrub", "csi"):
        assert [file.editions for file in entry_of(registry, name).files] == [()]
    [archive] = registry["cifar10"].files
    published, repacked = archive.editions
    assert published.md5 == "c58f30108f718f92721af3b95e74349a"
    assert published.remark is None
    assert "test batch" in str(repacked.remark)
    assert registry["retail"].stand_in_for == "Purchase"
