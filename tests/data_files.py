"""Makers of small files in the published formats of the data sets."""

import gzip
import hashlib
import io
import pickle
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from pydantic import TypeAdapter

from whatelse.datasets.prepare import prepare
from whatelse.datasets.settings import DatasetSettings
from whatelse.datasets.store import Dataset, open_dataset


def tar(path: Path, members: Mapping[str, bytes], mode: str = "w:gz") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def rows_of_bits(bits: np.ndarray, labels: Sequence[int] | None = None) -> bytes:
    """Rows as in P1's files: a label in quotes, then bits; or bits alone."""
    heads = [""] * len(bits)
    if labels is not None:
        heads = [f'"{label}",' for label in labels]
    return "".join(
        head + ",".join(map(str, row)) + "\n"
        for head, row in zip(heads, bits.tolist(), strict=True)
    ).encode()


def pickled(batch: Mapping[bytes, Any]) -> bytes:
    """Pickle as numpy 1 under Python 2 did: old module names, byte-string keys."""
    text = pickle.dumps(dict(batch), protocol=2)
    return text.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def cifar100(path: Path, images: np.ndarray, labels: Sequence[int]) -> Path:
    """Two thirds of the images as training batch, the rest as test batch."""
    cut = len(images) * 2 // 3

    def batch(part: slice) -> bytes:
        return pickled(
            {
                b"data": images[part].reshape(-1, 3072),
                b"fine_labels": list(labels[part]),
                b"coarse_labels": [0] * len(labels[part]),
            }
        )

    names = [f"thing {label}".encode() for label in range(100)]
    return tar(
        path,
        {
            "cifar-100-python/meta": pickled({b"fine_label_names": names}),
            "cifar-100-python/test": batch(slice(cut, None)),
            "cifar-100-python/train": batch(slice(cut)),
        },
    )


def picture(
    colour: tuple[int, int, int], *, width: int, height: int, kind: str = "JPEG"
) -> bytes:
    """A picture of one colour, as the bytes of a file."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(file, kind, quality=95)
    return file.getvalue()


def idx(path: Path, array: np.ndarray) -> Path:
    """A gzipped idx file of bytes, as MNIST is published."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = bytes([0, 0, 8, array.ndim]) + b"".join(
        size.to_bytes(4, "big") for size in array.shape
    )
    path.write_bytes(gzip.compress(head + array.astype(np.uint8).tobytes(), mtime=0))
    return path


def registry(
    path: Path,
    name: str,
    files: Mapping[str, Path | None],
    *,
    records: int,
    content: str = "as is",
    urls: Sequence[str] = (),
    remark: str | None = None,
) -> Path:
    """A registry of one data set; a file given as None has no known digest."""
    described = []
    for published, source in files.items():
        editions = []
        if source is not None:
            raw = source.read_bytes()
            if content == "uncompressed" and raw[:2] == b"\x1f\x8b":
                raw = gzip.decompress(raw)
            digest = hashlib.sha256(raw).hexdigest()
            editions = [{"sha256": digest, "bytes": len(raw), "remark": remark}]
        described.append(
            {
                "paths": [f"{name}/{published}"],
                "urls": [f"{url}/{published}" for url in urls],
                "editions": editions,
                "content": content,
            }
        )
    entry = {
        "title": name.title(),
        "licence": "none",
        "citation": "nobody",
        "page": "https://example.org/data",
        "records": records,
        "classes": "few",
        "files": described,
    }
    path.write_text(yaml.safe_dump({name: entry}), encoding="utf-8")
    return path


def make(tmp_path: Path, registry: Path | None = None, **settings: object) -> Dataset:
    """Prepare a data set from files below `tmp_path`, and open it."""
    prepare(
        TypeAdapter(DatasetSettings).validate_python(settings),
        raw=tmp_path,
        out=tmp_path / "out",
        registry=registry or tmp_path / "none.yaml",
    )
    return open_dataset(tmp_path / "out")


def at_hand(tmp_path: Path, name: str, files: dict[str, Path], **more: object) -> Path:
    """Write a registry of these files and say that they were fetched."""
    (tmp_path / name / "fetched.json").write_text("{}")
    return registry(tmp_path / "registry.yaml", name, files, **more)
