"""Artefact folders: atomic files, digests, records."""

import errno
import hashlib
import json
import math
import os
import stat
from pathlib import Path

import pytest

from whatelse import records
from whatelse.errors import UserError


def test_canonical_json_is_one_text_for_equal_values() -> None:
    assert (
        records.canonical_json({"b": 1, "a": [1.5, None]}) == '{"a":[1.5,null],"b":1}'
    )
    assert records.key_of({"b": 1, "a": 2}) == records.key_of({"a": 2, "b": 1})
    assert records.key_of({"a": 1}) != records.key_of({"a": 1.5})
    assert records.key_of({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()[:16]
    with pytest.raises(ValueError, match="not JSON compliant"):
        records.canonical_json(math.nan)


def test_digests(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"two")
    assert records.file_digest(tmp_path / "a") == hashlib.sha256(b"one").hexdigest()
    both = records.files_digest([tmp_path / "a", tmp_path / "b"])
    (tmp_path / "b").write_bytes(b"2")
    assert records.files_digest([tmp_path / "a", tmp_path / "b"]) != both
    (tmp_path / "b").write_bytes(b"two")
    (tmp_path / "b").rename(tmp_path / "c")
    assert records.files_digest([tmp_path / "a", tmp_path / "c"]) != both


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    with records.atomic(path) as file:
        file.write("half\r\n")
        assert not path.exists()
    assert path.read_bytes() == b"half\r\n"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail() -> None:
        with records.atomic(path) as file:
            file.write("new")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_place_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(records.os, "fsync", refuse)
    monkeypatch.setattr(records.os, "replace", refuse)
    reason = os.strerror(number)
    with pytest.raises(UserError, match=f"x.json: cannot write here: {reason}"):
        records.write_json(tmp_path / "x.json", 1)
    with pytest.raises(UserError, match=f"y: cannot write here: {reason}"):
        records.write_with(tmp_path / "y", lambda place: place.write_text("y"))
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="cannot write here: "):
        records.write_json(tmp_path / "taken" / "x.json", 1)


def test_a_library_writes_under_another_name_with_the_same_ending(
    tmp_path: Path,
) -> None:
    seen: list[Path] = []

    def writer(place: Path) -> None:
        seen.append(place)
        place.write_text("x")
        place.chmod(0o600)

    path = tmp_path / "deep" / "scores.parquet"
    mask = os.umask(0o022)
    try:
        records.write_with(path, writer)
    finally:
        os.umask(mask)
    assert seen[0] != path
    assert seen[0].suffix == ".parquet"
    assert [p.name for p in path.parent.iterdir()] == ["scores.parquet"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_json_is_the_same_bytes_and_never_nan(tmp_path: Path) -> None:
    records.write_json(tmp_path / "x.json", {"b": [1, 2.5], "a": "é"})
    text = (tmp_path / "x.json").read_text()
    assert text.endswith("}\n")
    assert text.index('"a"') < text.index('"b"')
    assert records.read_json(tmp_path / "x.json") == {"a": "é", "b": [1, 2.5]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        records.write_json(tmp_path / "x.json", math.inf)
    assert (tmp_path / "x.json").read_text() == text


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"\xff\xfe"])
def test_what_is_no_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(UserError, match="x.json: not JSON"):
        records.read_json(tmp_path / "x.json")
    with pytest.raises(UserError, match="none.json: no such file"):
        records.read_json(tmp_path / "none.json")


def test_a_record_vouches_for_inputs_code_and_outputs(tmp_path: Path) -> None:
    above, folder = tmp_path / "above", tmp_path / "made"
    for place in (above, folder):
        place.mkdir()
    (above / "record.json").write_text("{}")
    (tmp_path / "raw.csv").write_text("1")
    (tmp_path / "code.py").write_text("pass")
    for name in ("b.txt", "a.txt"):
        (folder / name).write_text(name)

    def write() -> bytes:
        records.write_record(
            folder,
            kind="attack",
            spec={"seed": 1},
            inputs={"data": above, "raw": tmp_path / "raw.csv"},
            code=[tmp_path / "code.py"],
            outputs=["b.txt", "a.txt"],
            extra={"remarks": ["small"]},
        )
        return (folder / "record.json").read_bytes()

    first = write()
    assert write() == first
    record = json.loads(first)
    assert record["kind"] == "attack"
    assert record["spec"] == {"seed": 1}
    assert record["inputs"] == {
        "data": hashlib.sha256(b"{}").hexdigest(),
        "raw": hashlib.sha256(b"1").hexdigest(),
    }
    assert record["outputs"]["a.txt"] == hashlib.sha256(b"a.txt").hexdigest()
    assert record["remarks"] == ["small"]
    assert "torch" in record["versions"]
    # the chain: what lies upstream is in the digest
    before = records.artefact_digest(folder)
    (above / "record.json").write_text('{"changed": 1}')
    write()
    assert records.artefact_digest(folder) != before


def test_telemetry_lies_outside_the_record(tmp_path: Path) -> None:
    telemetry = records.Telemetry()
    telemetry.write(tmp_path, device="cpu")
    told = records.read_json(tmp_path / "telemetry.json")
    assert told["device"] == "cpu"
    assert told["seconds"] >= 0
    assert told["peak_memory_mb"] > 1
