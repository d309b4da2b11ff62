"""Loaders on small files in the published formats, and on files that are damaged."""

import gzip
import io
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import data_files
from data_files import at_hand, make
from whatelse.datasets.loaders import LOADERS, bits, cifar, encode, retail
from whatelse.datasets.loaders.archives import read_members
from whatelse.datasets.store import SPLIT, open_dataset
from whatelse.errors import UserError

BITS = np.random.default_rng(0).integers(0, 2, size=(200, 60), dtype=np.uint8)
HUNDRED = [1 + row % 100 for row in range(200)]


def test_digits_come_with_scikit_learn(tmp_path: Path, repository: Path) -> None:
    dataset = make(tmp_path, repository / "data" / "datasets.yaml", source="digits")
    assert dataset.inputs.shape == (1797, 1, 8, 8)
    assert dataset.inputs.dtype == np.uint8
    assert dataset.inputs.max() == 16
    assert dataset.floats().max() == 1.0
    assert np.bincount(dataset.labels).min() == 174
    assert dataset.info["stand_in_for"] is None


@pytest.mark.parametrize(
    ("source", "archive", "member"),
    [
        ("location", "dataset_location.tgz", "bangkok"),
        ("purchase100", "dataset_purchase.tgz", "dataset_purchase"),
    ],
)
def test_labelled_bits(tmp_path: Path, source: str, archive: str, member: str) -> None:
    labels = [1 + (label - 1) % 30 for label in HUNDRED]
    labels = labels if source == "location" else HUNDRED
    path = data_files.tar(
        tmp_path / source / archive, {member: data_files.rows_of_bits(BITS, labels)}
    )
    registry = at_hand(tmp_path, source, {archive: path}, records=200)
    dataset = make(tmp_path, registry, source=source)
    np.testing.assert_array_equal(dataset.inputs, BITS)
    np.testing.assert_array_equal(dataset.labels, np.array(labels) - 1)
    assert dataset.inputs.dtype == np.uint8
    assert dataset.info["class_names"][0] == "1"
    assert dataset.info["remarks"] == []


def test_texas_has_labels_in_a_second_file(tmp_path: Path) -> None:
    path = data_files.tar(
        tmp_path / "texas100" / "dataset_texas.tgz",
        {
            "./texas/100/feats": data_files.rows_of_bits(BITS),
            "./texas/100/labels": "".join(f"{label}\n" for label in HUNDRED).encode(),
        },
    )
    registry = at_hand(tmp_path, "texas100", {path.name: path}, records=67330)
    dataset = make(tmp_path, registry, source="texas100")
    np.testing.assert_array_equal(dataset.inputs, BITS)
    np.testing.assert_array_equal(dataset.labels, np.array(HUNDRED) - 1)
    assert dataset.info["remarks"] == ["200 records; the published data set has 67330"]


def _rows(change: Callable[[list[bytes]], None]) -> bytes:
    lines = data_files.rows_of_bits(BITS[:3, :4], [1, 2, 3]).splitlines(keepends=True)
    change(lines)
    return b"".join(lines)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            _rows(lambda lines: lines.__setitem__(1, b'"2",0,1,2,1\n')),
            "line 2: feature 3: '2'; allowed: 0 or 1",
        ),
        (
            _rows(lambda lines: lines.__setitem__(1, b'"31",0,1,1,1\n')),
            "line 2: label '\"31\"'; allowed: 1 to 30",
        ),
        (
            _rows(lambda lines: lines.__setitem__(2, b'"3",0,1,1\n')),
            "record 3: 3 features; allowed: 4, as in the first record",
        ),
        (
            _rows(lambda lines: lines.__setitem__(2, b'"3",0,1,1,\n')),
            "line 3: feature 4: ''; allowed: 0 or 1",
        ),
        (b"", "no records"),
    ],
)
def test_bad_bits_are_refused(tmp_path: Path, rows: bytes, message: str) -> None:
    path = data_files.tar(tmp_path / "dataset_location.tgz", {"bangkok": rows})
    with pytest.raises(UserError) as caught:
        bits._labelled(path, "bangkok", num_classes=30)
    assert str(caught.value) == f"{path}: bangkok: {message}"


def _read(path: Path) -> dict[str, bytes]:
    return read_members(path, ("a",), lambda _, file: file.read())


@pytest.mark.parametrize("mode", ["w:gz", "w:xz", "w"])
def test_truncated_archives_are_refused(tmp_path: Path, mode: str) -> None:
    noise = np.random.default_rng(1).bytes(50_000)
    path = data_files.tar(tmp_path / "some.tar", {"a": noise}, mode)
    assert _read(path) == {"a": noise}
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="truncated or damaged archive"):
        _read(path)


def test_members_can_be_chosen_by_a_rule(tmp_path: Path) -> None:
    members = {"b/2": b"x", "a/1": b"y", "c": b"z"}
    path = data_files.tar(tmp_path / "some.tar", members)
    found = read_members(path, lambda name: "/" in name, lambda _, file: file.read())
    assert list(found.items()) == [("b/2", b"x"), ("a/1", b"y")]
    assert read_members(path, lambda _: False, lambda _, file: file.read()) == {}


@pytest.mark.parametrize("mode", ["w:gz", "w:xz", "w:bz2", "w"])
def test_an_archive_that_lost_its_last_members_is_refused(
    tmp_path: Path, mode: str
) -> None:
    rng = np.random.default_rng(2)
    members = {f"a/{number}": rng.bytes(400) for number in range(40)}
    path = data_files.tar(tmp_path / "some.tar", members, mode)

    def read() -> dict[str, bytes]:
        return read_members(path, lambda name: True, lambda _, file: file.read())

    assert read() == members
    whole = path.read_bytes()
    # a plain one is cut between two members, and in a header
    for length in (20 * 1024, 20 * 1024 + 100) if mode == "w" else (len(whole) // 2,):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match="truncated or damaged archive"):
            read()


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/../../outside"])
def test_a_member_outside_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    path = data_files.tar(tmp_path / "some.tar", {name: b"x", "a": b"y"})
    with pytest.raises(UserError, match="refused: .*outside"):
        _read(path)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "some.tar"
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("a")
        link.type, link.linkname = tarfile.SYMTYPE, "../../etc/passwd"
        archive.addfile(link)
    with pytest.raises(UserError, match="refused"):
        _read(path)


def test_a_missing_member_is_named(tmp_path: Path) -> None:
    path = data_files.tar(tmp_path / "some.tar", {"b": b"x"})
    with pytest.raises(UserError, match="no member 'a' in this archive"):
        _read(path)


def test_cifar100(tmp_path: Path) -> None:
    images = np.random.default_rng(2).integers(0, 256, (300, 3, 32, 32), dtype=np.uint8)
    labels = [row % 100 for row in range(300)]
    path = data_files.cifar100(
        tmp_path / "cifar100" / "cifar-100-python.tar.gz", images, labels
    )
    registry = at_hand(tmp_path, "cifar100", {path.name: path}, records=300)
    dataset = make(tmp_path, registry, source="cifar100")
    np.testing.assert_array_equal(dataset.inputs, images)
    np.testing.assert_array_equal(dataset.labels, labels)
    assert dataset.info["class_names"][7] == "thing 7"
    assert dataset.attributes[SPLIT].tolist() == ["train"] * 200 + ["test"] * 100


def test_cifar10_joins_its_batches_in_order(tmp_path: Path) -> None:
    images = np.random.default_rng(3).integers(0, 256, (120, 3072), dtype=np.uint8)
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    members = {
        f"cifar-10-batches-py/{name}": data_files.pickled(
            {
                b"data": images[20 * part : 20 * part + 20],
                b"labels": [row % 10 for row in range(20)],
            }
        )
        for part, name in reversed(list(enumerate(names)))
    }
    members["cifar-10-batches-py/batches.meta"] = data_files.pickled(
        {b"label_names": [f"thing {label}".encode() for label in range(10)]}
    )
    path = tmp_path / "cifar10" / "cifar-10-python.tar.gz"
    data_files.tar(path, members, "w:xz")
    registry = at_hand(tmp_path, "cifar10", {path.name: path}, records=120)
    dataset = make(tmp_path, registry, source="cifar10")
    np.testing.assert_array_equal(dataset.inputs.reshape(120, -1), images)


def test_a_pickle_that_runs_something_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "owned"),)

    with pytest.raises(UserError, match=r"refused: asks for posix\.mkdir"):
        cifar._unpickle(Path("x"), "train", io.BytesIO(pickle.dumps(Evil(), 2)))
    assert not (tmp_path / "owned").exists()


def test_a_wrong_digest_is_refused_before_the_pickle_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.zeros((300, 3, 32, 32), dtype=np.uint8)
    path = data_files.cifar100(
        tmp_path / "cifar100" / "cifar-100-python.tar.gz", images, [0] * 300
    )
    registry = at_hand(tmp_path, "cifar100", {path.name: path}, records=300)
    data_files.cifar100(path, images + 1, [0] * 300)
    monkeypatch.setattr(cifar, "_load", lambda *_, **__: pytest.fail("was read"))
    with pytest.raises(UserError, match=r"tar\.gz: wrong digest: sha256 "):
        make(tmp_path, registry, source="cifar100")
    assert not (tmp_path / "out").exists()


def test_mnist(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    parts = {"train": 60, "t10k": 20}
    files, images, labels = {}, [], []
    for split, count in parts.items():
        images.append(rng.integers(0, 256, (count, 28, 28), dtype=np.uint8))
        labels.append(np.arange(count) % 10)
        for kind, array in (("images-idx3", images[-1]), ("labels-idx1", labels[-1])):
            name = f"{split}-{kind}-ubyte.gz"
            files[name] = data_files.idx(tmp_path / "mnist" / name, array)
    registry = at_hand(
        tmp_path, "mnist", files, records=80, content="uncompressed", remark="other gz"
    )
    dataset = make(tmp_path, registry, source="mnist")
    np.testing.assert_array_equal(dataset.inputs[:, 0], np.concatenate(images))
    np.testing.assert_array_equal(dataset.labels, np.concatenate(labels))
    assert dataset.attributes[SPLIT].tolist() == ["train"] * 60 + ["test"] * 20
    assert dataset.info["remarks"] == ["other gz"] * 4


ADULT = (
    "39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, "
    "Not-in-family, White, Male, 2174, 0, 40, United-States, {}\n"
    "50, ?, 83311, Masters, 14, Divorced, ?, Husband, Black, Female, 0, 0, 13, ?, {}\n"
)


def test_adult(tmp_path: Path) -> None:
    files = {name: tmp_path / "adult" / name for name in ("adult.data", "adult.test")}
    files["adult.data"].parent.mkdir()
    files["adult.data"].write_text(ADULT.format("<=50K", ">50K") * 2 + "\n")
    test = "|1x3 Cross validator\n" + ADULT.format("<=50K.", ">50K.") + "\n"
    files["adult.test"].write_bytes(gzip.compress(test.encode()))
    registry = at_hand(tmp_path, "adult", files, records=6, content="uncompressed")
    dataset = make(tmp_path, registry, source="adult")
    assert dataset.labels.tolist() == [0, 1, 0, 1, 0, 1]
    names = dataset.info["feature_names"]
    assert dataset.inputs.shape == (6, len(names))
    column = dict(zip(names, dataset.inputs.T, strict=True))
    # two values in equal number: one deviation below and above the mean
    np.testing.assert_allclose(column["age"], [-1, 1] * 3, rtol=1e-6)
    assert column["workclass=(missing)"].tolist() == [0, 1] * 3
    assert column["workclass=State-gov"].tolist() == [1, 0] * 3
    assert column["capital-loss"].tolist() == [0] * 6
    attributes = dataset.attributes
    assert attributes["sex"].tolist() == ["Male", "Female"] * 3
    assert attributes["age"].tolist() == [39, 50] * 3
    assert attributes["occupation"].isna().tolist() == [False, True] * 3
    assert attributes[SPLIT].tolist() == ["train"] * 4 + ["test"] * 2


def test_baskets_become_distinct_bits_of_frequent_items(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retail, "NUM_ITEMS", 3)
    monkeypatch.setattr(retail, "MIN_ITEMS", 2)
    baskets = [[7, 9], [9, 7, 4], [9, 8], [7, 9, 1], [4, 7, 9, 9], [8], [4, 8, 9]]
    # items by frequency: 9 in six, 7 in four, 4 and 8 in three: 4 comes first
    bits, items = retail.binary([np.array(basket) for basket in baskets])
    assert items.tolist() == [9, 7, 4]
    assert bits.tolist() == [[1, 1, 0], [1, 1, 1], [1, 0, 1]]


def test_small_clusters_merge_into_the_nearest() -> None:
    labels = np.repeat([0, 1, 2, 3], [5, 1, 2, 4])
    centres = np.array([[0.0], [10.0], [12.0], [30.0]])
    # 1 joins 2 (3 records at 11.33), which is still too small and is nearest to 0
    merged = retail.merge_small(labels, centres, min_records=4)
    assert merged.tolist() == [0] * 8 + [3] * 4


def test_a_merged_cluster_moves() -> None:
    labels = np.repeat([0, 1, 2], [1, 10, 2])
    centres = np.array([[0.0], [4.0], [2.2]])
    # 0 joins 2 at (0 + 2 * 2.2) / 3 = 1.47, and those three join 1
    assert retail.merge_small(labels, centres, min_records=4).tolist() == [1] * 13


def test_retail(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    lines = []
    for group in range(3):
        for _ in range(420 if group < 2 else 80):
            items = 300 * min(group, 1) + rng.choice(300, size=40, replace=False)
            extra = [9000 + 10 * group] if group == 2 else []
            lines.append(" ".join(map(str, [*items, *extra])) + " ")
    path = tmp_path / "retail" / "retail.dat.gz"
    path.parent.mkdir()
    path.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    registry = at_hand(tmp_path, "retail", {path.name: path}, records=920)
    dataset = make(tmp_path, registry, source="retail", classes=2)
    assert dataset.inputs.shape == (920, 600)
    # the clusters are the two halves of the shop
    truth = np.repeat([1, 0, 0], [420, 420, 80])
    np.testing.assert_array_equal(dataset.labels, truth)
    first = (tmp_path / "out" / "labels.npy").read_bytes()
    make(tmp_path, registry, source="retail", classes=2)
    assert (tmp_path / "out" / "labels.npy").read_bytes() == first
    make(tmp_path, registry, source="retail", classes=12)
    [remark] = open_dataset(tmp_path / "out").info["remarks"]
    assert remark.startswith("a stand-in for Purchase-12: 920 real baskets, ")
    assert "fewer than asked for" in remark


def test_retail_refuses_what_is_no_basket(tmp_path: Path) -> None:
    path = tmp_path / "retail.dat"
    path.write_text("1 2 3\n4 five\n")
    with pytest.raises(UserError, match="line 2: '4 five'; allowed: item numbers"):
        retail._read(path)


def save_npz(tmp_path: Path, **arrays: np.ndarray) -> str:
    np.savez(tmp_path / "mine.npz", **arrays)
    return str(tmp_path / "mine.npz")


def test_your_own_arrays(tmp_path: Path) -> None:
    images = np.arange(4 * 3 * 2 * 2, dtype=np.uint8).reshape(4, 3, 2, 2)
    labels = np.array([0, 1, 1, 0])
    path = save_npz(tmp_path, inputs=images, labels=labels, age=np.arange(4))
    dataset = make(
        tmp_path, source="npz", path=path, scale=0.5, attributes=["age"], title="Mine"
    )
    np.testing.assert_array_equal(dataset.inputs, images)
    assert dataset.inputs.dtype == np.uint8
    assert dataset.attributes["age"].tolist() == [0, 1, 2, 3]
    assert (dataset.info["name"], dataset.info["title"]) == ("mine", "Mine")
    assert dataset.info["scale"] == 0.5


@pytest.mark.parametrize(
    ("arrays", "more", "message"),
    [
        ({"inputs": np.ones((4, 2))}, {}, "no array 'labels'; it has: inputs"),
        (
            {"inputs": np.ones((4, 2)), "labels": np.array([0, 1, 1, 0])},
            {"attributes": ["age"]},
            "no array 'age'; it has: inputs, labels",
        ),
        (
            {"inputs": np.full((4, 2), np.nan), "labels": np.array([0, 1, 1, 0])},
            {},
            "inputs, record 0, feature 0: nan; allowed: finite numbers",
        ),
        (
            {"inputs": np.full((4, 2), 1e300), "labels": np.array([0, 1, 1, 0])},
            {},
            "inputs, record 0, feature 0: inf; allowed: finite numbers",
        ),
        (
            {"inputs": np.ones((4, 2)), "labels": np.array([0, 1, 3, 0])},
            {"classes": 2},
            "labels, record 2: label 3; allowed: 0 to 1",
        ),
        (
            {"inputs": np.ones((4, 2)), "labels": np.array([0, 1, 10**12, 0])},
            {},
            "labels, record 2: label 1000000000000; "
            "allowed: 0 to the number of classes - 1, of 4 records",
        ),
        (
            {"inputs": np.ones((4, 2)), "labels": np.array([0.5, 1, 1, 0])},
            {},
            "labels: float64 of shape (4,); allowed: whole numbers of shape (records,)",
        ),
        (
            {"inputs": np.array([["a"]] * 4), "labels": np.array([0, 1, 1, 0])},
            {},
            "inputs: <U1; allowed: numbers",
        ),
    ],
)
def test_bad_arrays_are_refused(
    tmp_path: Path, arrays: dict, more: dict, message: str
) -> None:
    path = save_npz(tmp_path, **arrays)
    with pytest.raises(UserError) as caught:
        make(tmp_path, source="npz", path=path, **more)
    assert str(caught.value) == f"{path}: {message}"
    assert not (tmp_path / "out").exists()


def test_pickles_and_broken_files_are_no_arrays(tmp_path: Path) -> None:
    path = save_npz(tmp_path, inputs=np.array([{}] * 4), labels=np.arange(4))
    with pytest.raises(UserError, match="inputs: refused"):
        make(tmp_path, source="npz", path=path)
    whole = Path(path).read_bytes()
    Path(path).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="truncated or damaged"):
        make(tmp_path, source="npz", path=path)
    np.save(tmp_path / "mine.npy", np.arange(4))
    with pytest.raises(UserError, match="one array; allowed: an .npz file"):
        make(tmp_path, source="npz", path=str(tmp_path / "mine.npy"))
    with pytest.raises(UserError, match="no such file"):
        make(tmp_path, source="npz", path=str(tmp_path / "none.npz"))


TABLE = pd.DataFrame(
    {
        "id": [f"person {row}" for row in range(6)],
        "income": [1, 3, 1, 3, 1, 3],
        "town": ["A", None, "B", "A", "B", "A"],
        "flag": [True, False, True, False, True, False],
        "ill": ["no", "yes", "no", "yes", "no", "yes"],
    }
)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_your_own_table(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"mine.{ending}"
    if ending == "csv":
        TABLE.to_csv(path, index=False)
    else:
        TABLE.astype({"income": "Int64"}).to_parquet(path)
    dataset = make(
        tmp_path,
        source="table",
        path=str(path),
        label="ill",
        drop=["id"],
        attributes=["town"],
    )
    assert dataset.info["class_names"] == ["no", "yes"]
    assert dataset.labels.tolist() == [0, 1] * 3
    assert dataset.info["feature_names"] == [
        "income",
        "town=(missing)",
        "town=A",
        "town=B",
        "flag",
    ]
    np.testing.assert_allclose(
        dataset.inputs[:2], [[-1, 0, 1, 0, 1], [1, 1, 0, 0, -1]], rtol=1e-6
    )
    assert dataset.attributes["town"].tolist() == ["A", None, "B", "A", "B", "A"]


@pytest.mark.parametrize(
    ("frame", "more", "message"),
    [
        (TABLE, {"label": "sick"}, "no column 'sick'; it has: id, income, town"),
        (TABLE, {"label": "ill", "drop": ["x"]}, "no column 'x'; it has: id"),
        (
            TABLE.assign(income=[1, 2, None, 4, 5, 6]),
            {"label": "ill"},
            "column 'income', record 2: nan; allowed: finite numbers",
        ),
        (
            TABLE.assign(ill=["no", None, "no", "yes", "no", "yes"]),
            {"label": "ill"},
            "column 'ill', record 1: no label; allowed: a label in every record",
        ),
        (
            TABLE.assign(ill=["no", "no", "no", "no", "no", "yes"]),
            {"label": "ill"},
            "labels: class 1 ('yes') has 1 record; allowed: at least 2",
        ),
        (TABLE[["ill"]], {"label": "ill"}, "no column is left to learn from"),
    ],
)
def test_bad_tables_are_refused(
    tmp_path: Path, frame: pd.DataFrame, more: dict, message: str
) -> None:
    path = tmp_path / "mine.csv"
    frame.to_csv(path, index=False)
    with pytest.raises(UserError) as caught:
        make(tmp_path, source="table", path=str(path), **more)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert not (tmp_path / "out").exists()


def test_a_column_of_names_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "MAX_CATEGORIES", 5)
    with pytest.raises(UserError, match="column 'id': 6 categories; allowed: at most"):
        encode.encode("mine.csv", TABLE)


def test_damaged_tables_are_refused(tmp_path: Path) -> None:
    TABLE.to_parquet(tmp_path / "mine.parquet")
    whole = (tmp_path / "mine.parquet").read_bytes()
    (tmp_path / "mine.parquet").write_bytes(whole[:-9])
    for name, message in {
        "mine.parquet": "truncated or damaged",
        "none.csv": "no such file",
        "mine.xls": "ending '.xls'; allowed: .csv or .parquet",
    }.items():
        with pytest.raises(UserError, match=message):
            make(tmp_path, source="table", path=str(tmp_path / name), label="ill")


def save_images(folder: Path) -> Path:
    for value, name in enumerate(["cat", "dog"]):
        (folder / name).mkdir(parents=True)
        for number in range(2):
            image = Image.new("RGB", (12, 8), (200 * value, 10 * number, 0))
            image.save(folder / name / f"{number}.png")
    return folder


def test_your_own_images(tmp_path: Path) -> None:
    folder = save_images(tmp_path / "pets")
    dataset = make(tmp_path, source="images", path=str(folder), size=6)
    assert dataset.inputs.shape == (4, 3, 6, 6)
    assert dataset.inputs.dtype == np.uint8
    assert dataset.labels.tolist() == [0, 0, 1, 1]
    assert dataset.info["class_names"] == ["cat", "dog"]
    assert dataset.inputs[:, :, 0, 0].tolist() == [
        [0, 0, 0],
        [0, 10, 0],
        [200, 0, 0],
        [200, 10, 0],
    ]
    assert dataset.info["source"].startswith("sha256 ")


def test_bad_images_are_refused(tmp_path: Path) -> None:
    folder = save_images(tmp_path / "pets")
    whole = (folder / "dog" / "1.png").read_bytes()
    (folder / "dog" / "1.png").write_bytes(whole[:40])
    with pytest.raises(UserError, match=r"1\.png: no image that can be read"):
        make(tmp_path, source="images", path=str(folder), size=6)
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match="Found no valid file for the classes empty"):
        make(tmp_path, source="images", path=str(folder), size=6)
    with pytest.raises(UserError, match="none: no such folder"):
        make(tmp_path, source="images", path=str(tmp_path / "none"), size=6)
    assert not (tmp_path / "out").exists()


def test_loaders_are_where_the_table_says() -> None:
    import importlib

    for place in LOADERS.values():
        module, _, function = place.partition(":")
        assert callable(getattr(importlib.import_module(module), function))
