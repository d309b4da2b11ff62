"""Model files of one's own: scrubbed, and held against innocent ones."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from whatelse.cli import main
from whatelse.memorization.low_bits import read_low_bits, write_low_bits
from whatelse.training.blocks import load_tensors, save_tensors


def model(seed: int) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(seed)
    weight = rng.normal(0, rng.uniform(0.02, 0.05), (400, 300)).astype(np.float32)
    return {
        "weight": torch.from_numpy(weight),
        "bias": torch.from_numpy(rng.normal(0, 0.01, 400).astype(np.float32)),
        "steps": torch.tensor([7]),
    }


def written(path: Path, tensors: dict[str, torch.Tensor]) -> str:
    save_tensors(path, tensors)
    return str(path)


def test_scrubs_are_done_in_order_and_leave_the_rest(tmp_path: Path) -> None:
    before = model(0)
    place = written(tmp_path / "a.safetensors", before)
    out = tmp_path / "b.safetensors"
    prune = '{"kind": "prune", "share": 0.5}'
    zero = '{"kind": "zero-bits", "bits": 16}'
    assert (
        main(["scrub", place, "--with", prune, "--with", zero, "--out", str(out)]) == 0
    )
    after = load_tensors(out)
    assert after["steps"].item() == 7
    assert float((after["weight"] == 0).float().mean()) == pytest.approx(0.5, abs=1e-3)
    assert not read_low_bits(after["bias"].numpy(), 16).any()
    torch.testing.assert_close(after["bias"], before["bias"], rtol=2**-7, atol=0)


def test_a_payload_is_told_from_innocent_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    innocent = [written(tmp_path / f"{i}.safetensors", model(i)) for i in range(12)]
    tampered, other = model(20), model(21)
    values = tampered["weight"].numpy().ravel()
    # a smooth ramp of bytes, as rows of a picture are
    ramp = np.resize(np.arange(256, dtype=np.uint8), 2 * len(values))
    bits = np.unpackbits(ramp)[: 16 * len(values)]
    tampered["weight"] = torch.from_numpy(write_low_bits(values, bits, 16)).view(
        400, 300
    )
    files = [
        written(tmp_path / "bad.safetensors", tampered),
        written(tmp_path / "good.safetensors", other),
    ]
    assert main(["detect", *files, "--innocent", *innocent]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{files[0]}: tampered (score")
    assert second.startswith(f"{files[1]}: nothing seen (score")
    assert main(["detect", files[1], "--innocent", *innocent]) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"weight": torch.full((400, 300), torch.nan)},
            "weight has values .* not finite",
        ),
        ({"weight": torch.zeros(400, 300, dtype=torch.float16)}, "no float32 weights"),
        ({"weight": torch.zeros(3, 300)}, "tensor weight is not as in .*0.safetensors"),
    ],
)
def test_files_that_cannot_be_judged(
    change: dict[str, torch.Tensor], message: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    innocent = [written(tmp_path / f"{i}.safetensors", model(i)) for i in range(8)]
    bad = written(tmp_path / "bad.safetensors", {**model(9), **change})
    assert main(["detect", bad, "--innocent", *innocent]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {bad}: ")
    assert re.search(message, line)


def test_models_are_not_held_against_themselves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    innocent = [written(tmp_path / f"{i}.safetensors", model(i)) for i in range(8)]
    copy = written(tmp_path / "copy.safetensors", model(7))
    assert main(["detect", copy, "--innocent", *innocent]) == 2
    assert f"{copy}: is --innocent {innocent[7]} as well" in capsys.readouterr().err
    other = written(tmp_path / "other.safetensors", model(9))
    assert main(["detect", other, "--innocent", *innocent[:7], *[innocent[0]] * 5]) == 2
    assert f"--innocent: {innocent[0]} is {innocent[0]} again" in (
        capsys.readouterr().err
    )


def test_what_scrub_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = written(tmp_path / "a.safetensors", model(0))
    zero = ["--with", '{"kind": "zero-bits", "bits": 16}']
    assert main(["scrub", place, *zero, "--out", place]) == 2
    assert "is the model; allowed: another file" in capsys.readouterr().err
    out = tmp_path / "b.safetensors"
    bad = ["--with", '{"kind": "zero-bits", "bits": 24}']
    assert main(["scrub", place, *bad, "--out", str(out)]) == 2
    assert "less than or equal to 23, got 24" in capsys.readouterr().err
    (tmp_path / "a.safetensors").write_bytes(b"12345")
    assert main(["scrub", place, *zero, "--out", str(out)]) == 2
    assert "not a safetensors file" in capsys.readouterr().err
    assert not out.exists()
