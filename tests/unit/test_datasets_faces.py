"""Loaders of faces, on small archives in the published layouts."""

import gzip
import hashlib
import io
from pathlib import Path

import numpy as np
import pytest

import data_files
from data_files import at_hand, make, picture
from whatelse.datasets.loaders import lfw_attributes
from whatelse.datasets.store import Dataset
from whatelse.errors import UserError

GREY = {"width": 47, "height": 62}


def test_faces_come_with_scikit_image(tmp_path: Path, repository: Path) -> None:
    dataset = make(tmp_path, repository / "data" / "datasets.yaml", source="faces")
    assert dataset.inputs.shape == (200, 1, 25, 25)
    assert dataset.inputs.dtype == np.uint8
    assert dataset.floats().max() == 1.0
    assert dataset.labels.tolist() == [0] * 100 + [1] * 100
    assert dataset.info["class_names"] == ["face", "background"]
    assert dataset.info["remarks"] == []
    # faces are lighter in their middle than at their sides
    seen = dataset.floats()[:, 0]
    lighter = seen[:, 8:17, 8:17].mean((1, 2)) - seen[:, :, [0, -1]].mean((1, 2))
    assert lighter[:100].mean() > 0.1
    assert abs(lighter[100:].mean()) < 0.1


HEAD = (
    "person,image,facer_male,df_gender,df_gender_prob,df_race,df_race_prob,df_age,"
    "facer_eyeglasses,facer_smiling,facer_young\n"
)
LINES = {
    "B_Two_0001.jpg": "B_Two,B_Two_0001.jpg,0.9,Man,99,black,80,40,0.7,0.1,0.5",
    "A_One_0002.jpg": "A_One,A_One_0002.jpg,0.1,Woman,99,white,80,31,0.2,0.9,0.5",
    "A_One_0001.jpg": "A_One,A_One_0001.jpg,0.4,Man,51,white,80,30,0.2,0.4,0.5",
    "C_Six_0001.jpg": "C_Six,C_Six_0001.jpg,0.5,Man,99,black,80,19,0.5,0.5,0.5",
}
COLOURS = {
    name: (40 * place, 200 - 40 * place, 90) for place, name in enumerate(sorted(LINES))
}


def lfw(
    tmp_path: Path,
    *,
    members: dict[str, bytes] | None = None,
    table: bytes | None = None,
    **settings: object,
) -> Dataset:
    """An archive with one image more than the table describes."""
    if members is None:
        members = {
            f"lfw_62x47/{name[:5]}/{name}": picture(COLOURS[name], **GREY)
            for name in LINES
        }
        members["lfw_62x47/D_Not/D_Not_0001.jpg"] = picture((1, 2, 3), **GREY)
    if table is None:
        table = (HEAD + "\n".join(LINES.values()) + "\n").encode()
    files = {
        "lfw-deepfunneled.tgz": tmp_path / "lfw" / "lfw-deepfunneled.tgz",
        "lfw_gender_race.csv.gz": tmp_path / "lfw" / "lfw_gender_race.csv.gz",
    }
    data_files.tar(files["lfw-deepfunneled.tgz"], members, "w:xz")
    files["lfw_gender_race.csv.gz"].write_bytes(gzip.compress(table, mtime=0))
    registry = at_hand(tmp_path, "lfw", files, records=4)
    return make(tmp_path, registry, source="lfw", **settings)


def test_lfw(tmp_path: Path) -> None:
    dataset = lfw(tmp_path)
    assert dataset.inputs.shape == (4, 3, 62, 47)
    assert dataset.inputs.dtype == np.uint8
    # by file name, whatever the order in archive and table
    for row, name in enumerate(sorted(LINES)):
        difference = dataset.inputs[row].mean((1, 2)) - COLOURS[name]
        assert np.abs(difference).max() < 3, name
    assert dataset.info["class_names"] == ["female", "male"]
    assert dataset.labels.tolist() == [0, 0, 1, 1]
    attributes = dataset.attributes
    assert attributes["person"].tolist() == [0, 0, 1, 2]
    assert attributes["race"].tolist() == ["white", "white", "black", "black"]
    assert attributes["age"].tolist() == [30, 31, 40, 19]
    assert attributes["eyeglasses"].tolist() == [
        *["no eyeglasses"] * 2,
        *["eyeglasses"] * 2,
    ]
    assert dataset.info["remarks"] == [
        "gender as predicted by a public face model, not human labels",
        "the 4 of 13,233 images that have predicted labels",
    ]
    assert "One" not in (tmp_path / "out" / "dataset.json").read_text()


def test_lfw_for_another_task_and_size(tmp_path: Path) -> None:
    dataset = lfw(tmp_path, task="smiling", size=16)
    assert dataset.inputs.shape == (4, 3, 16, 16)
    assert dataset.info["class_names"] == ["not smiling", "smiling"]
    assert dataset.labels.tolist() == [0, 1, 0, 1]
    assert dataset.info["remarks"][0].startswith("smiling as predicted by")


def test_the_originals_of_lfw_are_cropped_as_scikit_learn_does(tmp_path: Path) -> None:
    from PIL import Image

    from whatelse.datasets.loaders.lfw_pictures import CROP

    # a bright crop in black surroundings: nothing of these may be left
    pixels = np.zeros((250, 250, 3), dtype=np.uint8)
    pixels[70:195, 78:172] = 200
    (tmp_path / "whole.png").parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(tmp_path / "whole.png")
    original = (tmp_path / "whole.png").read_bytes()
    members = {f"lfw-deepfunneled/{name[:5]}/{name}": original for name in LINES}
    dataset = lfw(tmp_path, members=members)
    assert CROP == (78, 70, 172, 195)
    assert dataset.inputs.shape == (4, 3, 62, 47)
    assert (np.asarray(dataset.inputs) == 200).all()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.9,Man", "1.9,Man", "line 2: facer_male: '1.9'; allowed: 0 to 1"),
        ("0.9,Man", "nan,Man", "line 2: facer_male: 'nan'; allowed: 0 to 1"),
        ("40,0.7", "old,0.7", "line 2: df_age: 'old'; allowed: 0 to 150"),
        (
            "black,80,40",
            "green,80,40",
            "line 2: df_race: 'green'; allowed: asian, black, indian, ",
        ),
        (",0.7,0.1,0.5", "", "line 2: 11 fields allowed"),
        ("facer_male", "male", "no column 'facer_male'; it has: person, image, male"),
    ],
)
def test_a_bad_table_of_lfw_is_refused(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    table = (HEAD + "\n".join(LINES.values()) + "\n").replace(old, new, 1)
    with pytest.raises(UserError) as caught:
        lfw(tmp_path, table=table.encode())
    line = str(caught.value)
    assert line.startswith(f"{tmp_path / 'lfw' / 'lfw_gender_race.csv.gz'}: ")
    assert message in line
    assert "\n" not in line
    assert not (tmp_path / "out").exists()


def test_bad_images_of_lfw_are_refused(tmp_path: Path) -> None:
    good = {
        f"lfw_62x47/{name[:5]}/{name}": picture(COLOURS[name], **GREY) for name in LINES
    }
    victim = "lfw_62x47/B_Two/B_Two_0001.jpg"
    for content, message in {
        good[victim][:300]: "no image that can be read: ",
        b"no picture": "no image that can be read: cannot identify image file",
        picture((0, 0, 0), width=30, height=20): "30x20 pixels; allowed: 47x62 or 250x",
    }.items():
        with pytest.raises(UserError) as caught:
            lfw(tmp_path, members={**good, victim: content})
        assert f"lfw-deepfunneled.tgz: {victim}: " in str(caught.value)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    del good[victim]
    with pytest.raises(UserError, match=r"no image 'B_Two_0001\.jpg', which lfw_gen"):
        lfw(tmp_path, members=good)
    with pytest.raises(UserError, match="no images in this archive"):
        lfw(tmp_path, members={"readme": b""})
    with pytest.raises(UserError, match="no records"):
        lfw(tmp_path, table=HEAD.encode())


SCORED = {
    "C Six\t1": {"Male": 0.1},
    "B Two\t1": {"Male": 1.5, "Black": 0.2, "Sunglasses": 1.0, "Senior": 0.1},
    "A One\t2": {"Male": -0.1, "Smiling": 0.3, "White": -0.1, "No Eyewear": 1.2},
    "A One\t1": {"Asian": 0.9, "White": 0.8, "Eyeglasses": 0.1, "Bald": 0.5},
}


def published(scored: dict[str, dict[str, float]], *, comment: bool = True) -> str:
    """A comment, `#` before the header, more columns than are read."""
    columns = [*lfw_attributes.COLUMNS, "Flash"]
    lines = ["# lfw_attributes.txt"] if comment else []
    lines.append("#\tperson\timagenum\t" + "\t".join(columns))
    for image, own in scored.items():
        lines.append("\t".join([image, *(str(own.get(c, -1.0)) for c in columns)]))
    return "\n".join(lines) + "\n"


def kumar(
    tmp_path: Path, table: str, images: dict[str, bytes], **settings: object
) -> Dataset:
    files = {
        name: tmp_path / "lfw-attributes" / name
        for name in ("lfw-deepfunneled.tgz", "lfw_attributes.txt")
    }
    members = {f"lfw/{name[:5]}/{name}": image for name, image in images.items()}
    data_files.tar(files["lfw-deepfunneled.tgz"], members, "w:xz")
    files["lfw_attributes.txt"].write_text(table)
    registry = at_hand(tmp_path, "lfw-attributes", files, records=4)
    return make(tmp_path, registry, source="lfw-attributes", **settings)


def coloured() -> dict[str, bytes]:
    return {name: picture(COLOURS[name], **GREY) for name in LINES}


@pytest.mark.parametrize("comment", [True, False])
def test_lfw_by_the_attributes_of_the_papers(tmp_path: Path, *, comment: bool) -> None:
    dataset = kumar(tmp_path, published(SCORED, comment=comment), coloured())
    assert dataset.inputs.shape == (4, 3, 62, 47)
    # by file name, whatever the order in the table
    for row, name in enumerate(sorted(LINES)):
        difference = dataset.inputs[row].mean((1, 2)) - COLOURS[name]
        assert np.abs(difference).max() < 3, name
    assert dataset.info["class_names"] == ["female", "male"]
    assert dataset.labels.tolist() == [0, 0, 1, 1]
    said = {name: column.tolist() for name, column in dataset.attributes.items()}
    assert said == {
        "person": [0, 0, 1, 2],
        "gender": ["female", "female", "male", "male"],
        "smiling": ["not smiling", "smiling", "not smiling", "not smiling"],
        # the largest score, if it is not below -.1
        "race": ["asian", "white", "black", "unknown"],
        "eyewear": ["eyeglasses", "no eyewear", "sunglasses", "unknown"],
        "age": ["unknown", "unknown", "senior", "unknown"],
        "hair": ["bald", "unknown", "unknown", "unknown"],
    }
    assert "One" not in (tmp_path / "out" / "dataset.json").read_text()


def test_photographs_of_an_unknown_class_are_left_out(tmp_path: Path) -> None:
    columns = lfw_attributes.SEVERAL["hair"]
    scored = {
        f"P\t{number}": {column: 0.5}
        for number, column in enumerate([*columns, *columns, "Male"], start=1)
    }
    images = {f"P_{n:04d}.jpg": picture((9, 9, 9), **GREY) for n in range(1, 10)}
    members = {f"P/{name}": image for name, image in images.items()}
    dataset = kumar(tmp_path, published(scored), members, task="hair", size=16)
    assert dataset.inputs.shape == (8, 3, 16, 16)
    classes = dataset.info["class_names"]
    assert classes == ["black hair", "blond hair", "brown hair", "bald"]
    assert dataset.labels.tolist() == [0, 1, 2, 3] * 2
    assert dataset.info["remarks"][-2:] == [
        "hair by the scores of Kumar et al., not human labels",
        "the 8 of 13,233 images with such scores whose hair they tell",
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Two\t1\t1.5", "Two\t1\tman", "line 4: Male: 'man'; allowed: a number"),
        ("Two\t1\t1.5", "Two\t1\tinf", "line 4: Male: 'inf'; allowed: a number"),
        ("Two\t1\t", "Two\tone\t", "line 4: imagenum: 'one'; allowed: a whole "),
        ("Two\t1\t1.5", "Two\t1", "line 4: 19 fields; allowed: 20, as the header"),
        ("\tMale", "\tMan", "no column 'Male'; it has: person, imagenum, Man"),
        ("B Two", "D Not", "no image 'D_Not_0001.jpg', which lfw_attributes.txt"),
    ],
)
def test_a_bad_table_of_attributes_is_refused(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    table = published(SCORED)
    assert old in table
    with pytest.raises(UserError) as caught:
        kumar(tmp_path, table.replace(old, new, 1), coloured())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no records"):
        kumar(tmp_path, published({}), coloured())


AGED = {
    "UTKFace/9_0_0_20170112213500903.jpg.chip.jpg": (9, 0, 0),
    "UTKFace/20_1_1_20170112215240346.jpg.chip.jpg": (20, 1, 1),
    "UTKFace/34_1_2_20170116220224657 .jpg.chip.jpg": (34, 1, 2),
    "UTKFace/55_0_3_20170116232725357jpg.chip.jpg": (55, 0, 3),
    "UTKFace/65_0_4_20170112213001988.jpg.chip.jpg": (65, 0, 4),
    "UTKFace/19_1_0_20170112213001988.jpg.chip.jpg": (19, 1, 0),
}


def utkface(
    tmp_path: Path, members: dict[str, bytes], *, records: int = 6, **settings: object
) -> Dataset:
    path = tmp_path / "utkface" / "UTKFace_64x64_jpeg90.tar.xz"
    data_files.tar(path, members, "w:xz")
    registry = at_hand(tmp_path, "utkface", {path.name: path}, records=records)
    return make(tmp_path, registry, source="utkface", **settings)


def chips(size: int = 64) -> dict[str, bytes]:
    """Ages as shades of red."""
    return {
        name: picture((3 * age, 0, 0), width=size, height=size)
        for name, (age, _, _) in AGED.items()
    }


def test_utkface(tmp_path: Path) -> None:
    members = {
        **chips(),
        "UTKFace/39_1_20170116174525125.jpg.chip.jpg": b"is not read",
        "UTKFace/readme.txt": b"",
    }
    dataset = utkface(tmp_path, members)
    assert dataset.inputs.shape == (6, 3, 64, 64)
    # by file name: 19, 20, 34, 55, 65, 9
    ages = [19, 20, 34, 55, 65, 9]
    np.testing.assert_allclose(
        dataset.inputs[:, 0].mean((1, 2)), np.multiply(ages, 3), atol=3
    )
    assert dataset.attributes["age"].tolist() == ages
    assert dataset.info["class_names"] == ["male", "female"]
    assert dataset.labels.tolist() == [1, 1, 1, 0, 0, 0]
    assert dataset.attributes["race"].tolist() == [
        *("White", "Black", "Asian", "Indian", "other", "White")
    ]
    assert dataset.info["remarks"] == ["left out: 1 image whose name lacks a field"]


def test_utkface_in_groups_of_age_and_smaller(tmp_path: Path) -> None:
    members = chips(200)
    extra = picture((0, 0, 0), width=200, height=200)
    for age in (20, 49, 35, 64, 66):
        members[f"UTKFace/{age}_0_0_20180112213001988.jpg.chip.jpg"] = extra
    dataset = utkface(tmp_path, members, records=11, task="age", size=32)
    assert dataset.inputs.shape == (11, 3, 32, 32)
    groups = np.array(dataset.info["class_names"])[dataset.labels]
    assert dict(zip(dataset.attributes["age"], groups, strict=True)) == {
        9: "0-19",
        19: "0-19",
        20: "20-34",
        34: "20-34",
        35: "35-49",
        49: "35-49",
        55: "50-64",
        64: "50-64",
        65: "65+",
        66: "65+",
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("151_0_0_20170112213500903.jpg", "age: 151; allowed: 0 to 150"),
        ("20_3_0_20170112213500903.jpg", "gender: 3; allowed: 0 to 1"),
        ("20_0_5_20170112213500903.jpg", "race: 5; allowed: 0 to 4"),
    ],
)
def test_bad_names_of_utkface_are_refused(
    tmp_path: Path, name: str, message: str
) -> None:
    image = picture((0, 0, 0), width=64, height=64)
    with pytest.raises(UserError) as caught:
        utkface(tmp_path, {**chips(), f"UTKFace/{name}": image})
    assert str(caught.value) == (
        f"{tmp_path / 'utkface' / 'UTKFace_64x64_jpeg90.tar.xz'}: "
        f"UTKFace/{name}: {message}"
    )


def test_damaged_images_of_utkface_are_refused(tmp_path: Path) -> None:
    [first, *_] = AGED
    whole = chips()
    with pytest.raises(UserError, match="no image that can be read"):
        utkface(tmp_path, {**whole, first: whole[first][:200]})


LISTED = "name\timage_id\tface_id\turl\tbbox\tsha256\n"


def scrubbed() -> dict[str, bytes]:
    """Anna: 3 faces, Bert: 2, Carl: 4, Dora: 2."""
    members = {"facescrub/facescrub_actors.txt": LISTED.encode()}
    for gender, name, count in (
        ("actresses", "Dora", 2),
        ("actors", "Carl", 4),
        ("actors", "Bert", 2),
        ("actresses", "Anna", 3),
    ):
        for number in range(count):
            colour = (60 * "ABCD".index(name[0]), 0, 0)
            place = f"facescrub/{gender}/{name}/{name}_{number + 7}_{number}.jpeg"
            members[place] = picture(colour, width=80, height=70)
    return members


def facescrub(tmp_path: Path, members: dict[str, bytes], **settings: object) -> Dataset:
    path = data_files.tar(tmp_path / "facescrub" / "facescrub.tar", members, "w")
    registry = at_hand(tmp_path, "facescrub", {path.name: path}, records=11)
    return make(tmp_path, registry, source="facescrub", **settings)


def test_facescrub(tmp_path: Path) -> None:
    dataset = facescrub(tmp_path, scrubbed())
    assert dataset.inputs.shape == (11, 3, 50, 50)
    assert dataset.info["class_names"] == ["female", "male"]
    # Bert, Carl, Anna, Dora
    assert dataset.labels.tolist() == [1] * 6 + [0] * 5
    assert dataset.attributes["person"].tolist() == (
        [0] * 2 + [1] * 4 + [2] * 3 + [3] * 2
    )
    reds = np.repeat([60, 120, 0, 180], [2, 4, 3, 2])
    np.testing.assert_allclose(dataset.inputs[:, 0].mean((1, 2)), reds, atol=3)
    assert dataset.info["remarks"] == ["11 faces of 4 people"]


def test_facescrub_names_nobody(tmp_path: Path) -> None:
    dataset = facescrub(tmp_path, scrubbed(), task="identity", size=8, people=2)
    assert dataset.inputs.shape == (7, 3, 8, 8)
    assert dataset.info["class_names"] == ["person 0", "person 1"]
    assert dataset.labels.tolist() == [0] * 4 + [1] * 3
    assert dataset.info["remarks"] == [
        "7 records; the published data set has 11",
        "7 faces of 2 people",
    ]
    assert "Carl" not in (tmp_path / "out" / "dataset.json").read_text()


def test_bad_archives_of_facescrub_are_refused(tmp_path: Path) -> None:
    image = picture((0, 0, 0), width=8, height=8)
    for name in ("actors/Carl/Bert_1_1.jpeg", "people/Carl/Carl_1_1.jpeg"):
        with pytest.raises(UserError) as caught:
            facescrub(tmp_path, {**scrubbed(), name: image})
        assert str(caught.value) == (
            f"{tmp_path / 'facescrub' / 'facescrub.tar'}: {name}: "
            "allowed: {actors,actresses}/<name>/<name>_<image>_<face>.jpeg or, with "
            "the published lists, <name>_<image>.jpeg"
        )
    with pytest.raises(UserError, match="people: 5; allowed: 2 to 4"):
        facescrub(tmp_path, scrubbed(), people=5)
    with pytest.raises(UserError, match=r"Carl_1_1\.jpeg: no image that can be read"):
        facescrub(tmp_path, {**scrubbed(), "actors/Carl/Carl_1_1.jpeg": image[:90]})


def photographed(*, box: str = "10,20,40,60") -> dict[str, bytes]:
    """Photographs in the published form: a list of boxes and digests beside them.

    Everything but the faces is white. Carl and Anna have two photographs, on one of
    which there are two faces of Carl; Carl's third is not what was listed any more.
    """
    from PIL import Image

    def photo(*faces: tuple[tuple[int, int, int, int], int]) -> bytes:
        image = Image.new("RGB", (90, 80), (255, 255, 255))
        for own, red in faces:
            image.paste((red, 0, 0), own)
        file = io.BytesIO()
        image.save(file, "PNG")
        return file.getvalue()

    first, second = (10, 20, 40, 60), (50, 0, 90, 30)
    content = {
        ("actors", "Carl Cole", 7): photo((first, 50), (second, 70)),
        ("actors", "Carl Cole", 8): photo((first, 60)),
        ("actors", "Carl Cole", 9): photo((first, 90)),
        ("actresses", "Anna", 3): photo((first, 120)),
        ("actresses", "Anna", 4): photo((first, 130)),
        ("actresses", "Anna", 5): b"",  # a lost one
    }
    members: dict[str, bytes] = {}
    lines = {"actors": LISTED, "actresses": LISTED}
    for number, ((which, name, image), own) in enumerate(content.items()):
        digest = hashlib.sha256(own).hexdigest()
        boxes = [box, "50,0,90,30"] if image == 7 else [box]
        for extra, edges in enumerate(boxes):
            face = 100 * number + extra
            lines[which] += f"{name}\t{image}\t{face}\thttp://x\t{edges}\t{digest}\n"
        if own:
            folder = name.replace(" ", "_")
            members[f"images/{folder}/{folder}_{image}.jpg"] = own
    members["images/Carl_Cole/Carl_Cole_9.jpg"] = photo((first, 200))
    for which, text in lines.items():
        members[f"facescrub_{which}.txt"] = text.encode()
    return members


def test_photographs_of_facescrub_are_cut_by_the_published_lists(
    tmp_path: Path,
) -> None:
    dataset = facescrub(tmp_path, photographed(), size=16)
    assert dataset.inputs.shape == (5, 3, 16, 16)
    # nothing white is left of what surrounds the faces
    reds = np.asarray(dataset.inputs)[:, 0].reshape(5, -1)
    assert reds.min(1).tolist() == reds.max(1).tolist() == [50, 70, 60, 120, 130]
    assert not np.asarray(dataset.inputs)[:, 1:].any()
    assert dataset.labels.tolist() == [1, 1, 1, 0, 0]
    assert dataset.attributes["person"].tolist() == [0, 0, 0, 1, 1]
    assert dataset.info["remarks"] == [
        "5 records; the published data set has 11",
        "5 faces of 2 people",
        "left out: 1 photograph with another digest than the lists have",
    ]


def test_a_face_that_is_cut_out_already_counts_once(tmp_path: Path) -> None:
    members = photographed()
    cut = picture((220, 0, 0), width=30, height=40, kind="PNG")
    members["faces/actors/Carl_Cole/Carl_Cole_8_100.png"] = cut
    dataset = facescrub(tmp_path, members, size=16)
    assert len(dataset.inputs) == 5
    assert (np.asarray(dataset.inputs)[2, 0] == 220).all()


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ("10,20,91,60", "box 10,20,91,60; allowed: inside its 90x80 pixels"),
        ("40,20,10,60", "box 40,20,10,60; allowed: inside its 90x80 pixels"),
        ("10,20,30", "line 2: bbox: '10,20,30'; allowed: left,upper,right,lower in"),
        ("-1,20,30,40", "line 2: bbox: '-1,20,30,40'; allowed: left,upper,right"),
    ],
)
def test_bad_boxes_of_facescrub_are_refused(
    tmp_path: Path, box: str, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        facescrub(tmp_path, photographed(box=box))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lists_of_facescrub_without_what_is_needed_are_refused(tmp_path: Path) -> None:
    members = photographed()
    list_name = "facescrub_actors.txt"
    whole = members[list_name]
    with pytest.raises(UserError, match=rf"{list_name}: no column 'sha256'"):
        facescrub(tmp_path, members | {list_name: whole.replace(b"sha256", b"md5")})
    del members[list_name]
    with pytest.raises(UserError, match=r"Carl_Cole_7\.jpg: allowed: .*the published"):
        facescrub(tmp_path, members)
