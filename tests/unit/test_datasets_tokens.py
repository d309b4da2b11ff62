"""Texts as sequences of words, on small files in the published formats."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import data_files
from data_files import at_hand, make
from whatelse.datasets.loaders.tokens import encode, split_words
from whatelse.datasets.store import Dataset, open_dataset, write_dataset
from whatelse.errors import UserError


def test_words() -> None:
    assert split_words(
        "Don't stop; rock'n'roll, L\u2019\xc9t\xe9 42x a_b 'quoted'"
    ) == [*("don't", "stop", "rock'n'roll", "l'\xe9t\xe9", "x", "a", "b", "quoted")]
    assert split_words(" 12 -- ") == []


def test_a_vocabulary_by_hand() -> None:
    texts = [["b", "a", "b", "c"], ["z"], [], ["c", "b", "a", "d", "a"]]
    made = encode(texts, vocabulary=3, length=3)
    # three times a and b, twice c
    assert made.vocabulary == ("a", "b", "c")
    assert made.inputs.dtype == np.uint16
    # d is left out before the cut, and who has no known word is dropped
    assert made.inputs.tolist() == [[2, 1, 2], [3, 2, 1]]
    assert made.kept.tolist() == [0, 3]
    long = encode(texts, vocabulary=10, length=6)
    assert long.inputs[-2:].tolist() == [[5, 0, 0, 0, 0, 0], [3, 2, 1, 4, 1, 0]]
    # counted before the cut
    assert encode(texts, vocabulary=9, length=1, least=4).kept.tolist() == [0, 3]
    assert encode(texts, vocabulary=9, length=1, least=5).inputs.tolist() == [[3]]
    assert encode([], vocabulary=9, length=2).inputs.shape == (0, 2)


@given(
    st.lists(st.lists(st.sampled_from("abcdefg")), max_size=8),
    st.integers(1, 8),
    st.integers(1, 6),
    st.integers(1, 3),
)
def test_encoding_is_what_a_loop_does(
    texts: list[list[str]], vocabulary: int, length: int, least: int
) -> None:
    made = encode(texts, vocabulary=vocabulary, length=length, least=least)
    times = Counter(word for text in texts for word in text)
    known = sorted(times, key=lambda word: (-times[word], word))[:vocabulary]
    assert made.vocabulary == tuple(known)
    rows = []
    for text in texts:
        numbers = [known.index(word) + 1 for word in text if word in known]
        if len(numbers) >= least:
            rows.append((numbers + [0] * length)[:length])
    assert made.inputs.tolist() == rows


# ---- blogs

LONG = b"we like what we like "


def blog(*posts: bytes) -> bytes:
    parts = (b"<date>1,May,2004</date>\r\n<post>" + post + b"</post>" for post in posts)
    return b"<Blog>\r\n" + b"\r\n".join(parts) + b"\r\n</Blog>"


BLOGS = {
    "blogs/700.male.17.Student.Leo.xml": blog(LONG, LONG + b"school"),
    "blogs/70.female.23.Law.Virgo.xml": blog(
        b"work &amp; \xe9t\xe9 & \xc3\xa9t\xc3\xa9, don\x92t &#8217;we&#8217; <b",
        LONG,
        LONG,
    ),
    "blogs/9.male.48.indUnk.Aries.xml": blog(b"too short", LONG + b"taxes"),
    "blogs/8.female.33.indUnk.Aries.xml": blog(LONG),
    "blogs/10.female.13.Student.Leo.xml": blog(b"", b"42"),
    "blogs/readme.txt": b"",
}


def blogs(
    tmp_path: Path, members: dict[str, bytes] = BLOGS, **settings: object
) -> Dataset:
    path = tmp_path / "blogs" / "blogs_subset2000.tar.xz"
    data_files.tar(path, members, "w:xz")
    registry = at_hand(tmp_path, "blogs", {path.name: path}, records=6)
    small = {"length": 5, "vocabulary": 11, "posts": 2, "min_words": 5}
    return make(tmp_path, registry, source="blogs", **{**small, **settings})


def test_blogs(tmp_path: Path) -> None:
    dataset = blogs(tmp_path)
    # by number of the author, not as text: 8, 9, 70, 70, 700, 700; 10 has no post left
    assert dataset.info["class_names"] == ["10s", "20s", "30s"]
    assert dataset.labels.tolist() == [2, 2, 1, 1, 0, 0]
    attributes = dataset.attributes
    assert attributes["author"].tolist() == [0, 1, 3, 3, 4, 4]
    assert attributes["gender"].tolist() == [
        *("female", "male", "female", "female", "male", "male")
    ]
    assert attributes["industry"].tolist() == [
        *("indUnk", "indUnk", "Law", "Law", "Student", "Student")
    ]
    assert attributes["sign"].tolist()[-3:] == ["Virgo", "Leo", "Leo"]
    words = ["", *dataset.info["vocabulary"]]
    assert words[:4] == ["", "we", "like", "what"]
    assert len(words) == 12
    read = [[words[number] for number in row] for row in dataset.inputs]
    assert read[0] == ["we", "like", "what", "we", "like"]
    # Latin-1 and UTF-8 in one file, entities, and a sign that is not escaped
    assert read[2] == ["work", "\xe9t\xe9", "\xe9t\xe9", "don't", "we"]
    assert dataset.inputs.dtype == np.uint16
    assert (dataset.info["scale"], dataset.info["shift"]) == (1.0, 0.0)
    np.testing.assert_array_equal(dataset.floats(), dataset.inputs)
    assert dataset.info["remarks"] == [
        "at most 2 posts of each of 5 authors, the first in their files",
        "the first 5 words of each text, of the 11 most frequent; left out: 3 with "
        "fewer than 5 of them",
    ]


def test_models_are_given_the_numbers_as_they_are(tmp_path: Path) -> None:
    import torch

    from whatelse.training.device import resident

    inputs = np.array([[65535, 65534], [32769, 0], [1, 2], [3, 0]], dtype=np.uint16)
    write_dataset(
        tmp_path / "out",
        inputs=inputs,
        labels=np.array([0, 1, 0, 1]),
        info={
            "name": "toy",
            "title": "Toy",
            "class_names": ["a", "b"],
            "vocabulary": [str(number) for number in range(65535)],
        },
        settings={},
    )
    data = resident(open_dataset(tmp_path / "out"), torch.device("cpu"))
    given = data.gather(torch.tensor([[1, 0], [3, 1]]))
    assert given.dtype == torch.float32
    assert given.long().tolist() == [
        [[32769, 0], [65535, 65534]],
        [[3, 0], [32769, 0]],
    ]


def test_more_posts_and_padding(tmp_path: Path) -> None:
    dataset = blogs(tmp_path, posts=9, min_words=2, length=7, vocabulary=50)
    assert dataset.labels.tolist() == [2, 2, 2, 1, 1, 1, 0, 0]
    short = [dataset.info["vocabulary"].index(w) + 1 for w in ("too", "short")]
    assert dataset.inputs[1].tolist() == [*short, 0, 0, 0, 0, 0]


def test_blogs_do_not_depend_on_the_order_in_the_archive(tmp_path: Path) -> None:
    blogs(tmp_path)
    files = ["inputs.npy", "labels.npy", "attributes.parquet", "dataset.json"]
    first = [(tmp_path / "out" / name).read_bytes() for name in files[:3]]
    blogs(tmp_path, dict(reversed(BLOGS.items())))
    assert [(tmp_path / "out" / name).read_bytes() for name in files[:3]] == first


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "blogs/7.male.20.Law.Leo.xml",
            blog(LONG),
            "blogs/7.male.20.Law.Leo.xml: age: 20; allowed: 13 to 17, 23 to 27, 33 to "
            "48",
        ),
        (
            "blogs/7.other.23.Law.Leo.xml",
            blog(LONG),
            "blogs/7.other.23.Law.Leo.xml: allowed: <id>.<gender>.<age>.<industry>."
            "<sign>.xml",
        ),
        (
            "blogs/7.male.23.Law.Leo.xml",
            blog(LONG, LONG)[:-20],
            "blogs/7.male.23.Law.Leo.xml: 2 <post> and 1 </post>; allowed: in "
            "turn, at least one of either",
        ),
        # Minutes if each were looked for in all of the rest.
        pytest.param(
            "blogs/7.male.23.Law.Leo.xml",
            b"<post>" * 100_000,
            "blogs/7.male.23.Law.Leo.xml: 100000 <post> and 0 </post>; allowed: in "
            "turn, at least one of either",
            id="unclosed",
        ),
        pytest.param(
            "blogs/7.male.23.Law.Leo.xml",
            b"</post>" * 100_000 + b"<post>" * 100_000,
            "blogs/7.male.23.Law.Leo.xml: 100000 <post> and 100000 </post>; allowed: "
            "in turn, at least one of either",
            id="closed-before",
        ),
        (
            "blogs/7.male.23.Law.Leo.xml",
            b"<post>what we <post>like</post> we</post>",
            "blogs/7.male.23.Law.Leo.xml: 2 <post> and 2 </post>; allowed: in "
            "turn, at least one of either",
        ),
        (
            "blogs/7.male.23.Law.Leo.xml",
            b"<Blog></Blog>",
            "blogs/7.male.23.Law.Leo.xml: 0 <post> and 0 </post>; allowed: in "
            "turn, at least one of either",
        ),
    ],
)
def test_bad_blogs_are_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        blogs(tmp_path, {**BLOGS, name: content})
    path = tmp_path / "blogs" / "blogs_subset2000.tar.xz"
    assert str(caught.value) == f"{path}: {message}"
    assert not (tmp_path / "out").exists()


def test_archives_without_blogs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no <id>\.<gender>.*in this archive"):
        blogs(tmp_path, {"readme.txt": b""})
    with pytest.raises(UserError, match="no text of 9 has 99 words of the vocabulary"):
        blogs(tmp_path, min_words=99)


# ---- Yelp

BUSINESSES = [
    {"business_id": "h", "categories": "Doctors, Cardiologists"},
    {"business_id": "s", "categories": ["Dermatologists", "Spas"]},
    {"business_id": "two", "categories": "Cardiologists, Dermatologists"},
    {"business_id": "food", "categories": "Restaurants"},
    {"business_id": "none", "categories": None},
]
REVIEWS = [
    {"user_id": user, "business_id": place, "stars": stars, "text": text}
    for user, place, stars, text in [
        ("u1", "h", 5.0, "My heart is fine"),
        ("u2", "food", 1.0, "Cold soup"),
        ("u1", "s", 1, "My skin"),
        ("u3", "two", 2.0, "Both"),
        ("u2", "h", 4.0, "Fine heart"),
        ("u1", "none", 3.0, "What is it"),
    ]
]
# every rating twice, of both specialties
MANY = [
    {"user_id": "u9", "business_id": place, "stars": float(stars), "text": "fine"}
    for place in "hs"
    for stars in (1, 2, 3, 4, 5)
]


def lines(rows: list) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def yelp(
    tmp_path: Path,
    *,
    reviews: bytes | None = None,
    businesses: bytes | None = None,
    **settings: object,
) -> Dataset:
    folder = tmp_path / "yelp"
    folder.mkdir(exist_ok=True)
    files = {
        f"yelp_academic_dataset_{kind}.json": folder
        / f"yelp_academic_dataset_{kind}.json"
        for kind in ("review", "business")
    }
    contents = (
        reviews if reviews is not None else lines(REVIEWS + MANY),
        businesses if businesses is not None else lines(BUSINESSES),
    )
    for path, content in zip(files.values(), contents, strict=True):
        path.write_bytes(content)
    registry = at_hand(tmp_path, "yelp", files, records=13)
    return make(tmp_path, registry, source="yelp", length=3, **settings)


def test_yelp_health(tmp_path: Path) -> None:
    dataset = yelp(tmp_path)
    assert dataset.info["class_names"] == ["1", "2", "3", "4", "5"]
    assert dataset.labels.tolist() == [4, 0, 3, *range(5), *range(5)]
    assert dataset.attributes["specialty"].tolist() == [
        *("cardiology", "dermatology", "cardiology"),
        *["cardiology"] * 5,
        *["dermatology"] * 5,
    ]
    assert dataset.info["vocabulary"] == ["fine", "heart", "my", "is", "skin"]
    assert dataset.inputs[:3].tolist() == [[3, 2, 4], [3, 5, 0], [1, 2, 0]]
    assert dataset.info["remarks"] == [
        "reviews of doctors with one of ten specialties, not with several",
        "the first 3 words of each text, of the 5 most frequent",
    ]


def test_yelp_authors(tmp_path: Path) -> None:
    dataset = yelp(tmp_path, subset="authors", authors=2)
    # u9 has ten reviews, u1 three
    assert dataset.attributes["author"].tolist() == [1, 1, 1, *[0] * 10]
    assert dataset.labels.tolist() == [4, 0, 2, *range(5), *range(5)]
    assert "u9" not in (tmp_path / "out" / "dataset.json").read_text()
    with pytest.raises(UserError, match="authors: 5; allowed: 2 to 4, as many as"):
        yelp(tmp_path, subset="authors", authors=5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stars": 6}, "line 1: stars: 6; allowed: 1, 2, 3, 4, 5"),
        ({"stars": "5"}, "line 1: stars: '5'; allowed: 1, 2, 3, 4, 5"),
        ({"stars": 4.5}, "line 1: stars: 4.5; allowed: 1, 2, 3, 4, 5"),
        ({"text": 3}, "line 1: text: 3; allowed: text"),
        ({"business_id": None}, "line 1: business_id: None; allowed: text"),
    ],
)
def test_bad_reviews_of_yelp_are_refused(
    tmp_path: Path, change: dict, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        yelp(tmp_path, reviews=lines([{**REVIEWS[0], **change}, *REVIEWS]))
    path = tmp_path / "yelp" / "yelp_academic_dataset_review.json"
    assert str(caught.value) == f"{path}: {message}"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"reviews": lines(REVIEWS)[:-20]}, "review.json: line 6: truncated or damag"),
        ({"reviews": b"[]\n"}, "review.json: line 1: '[]'; allowed: an object"),
        ({"reviews": b"\xff\n"}, "review.json: line 1: truncated or damaged: not JSON"),
        ({"reviews": b"[" * 99999}, "review.json: line 1: truncated or damaged: not"),
        ({"reviews": b""}, "review.json: none of the reviews of doctors"),
        (
            {"businesses": b'{"business_id": "h", "categories": 3}'},
            "business.json: line 1: categories: 3; allowed: names with commas",
        ),
        (
            {"businesses": b'{"categories": "Urologists"}'},
            "business.json: line 1: business_id: None; allowed: text",
        ),
        ({"businesses": b""}, "business.json: categories: no doctors; allowed: Cardi"),
    ],
)
def test_damaged_files_of_yelp_are_refused(
    tmp_path: Path, files: dict, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        yelp(tmp_path, **files)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# ---- FourSquare


def visit(user: int, venue: str, minute: int) -> str:
    moment = f"Tue Apr 03 18:{minute:02}:09 +0000 2012"
    return f"{user}\t{venue}\t{moment}\t-240\n"


VISITS = "".join(
    visit(*one)
    for one in [
        (10, "park", 9), (10, "bar", 1), (10, "park", 5),
        (2, "bar", 2), (2, "gym", 3), (3, "park", 4), (3, "park", 5),
        (4, "bar", 1), (4, "park", 2), (5, "bar", 1), (5, "park", 2),
        (6, "gym", 1), (6, "park", 2), (7, "gym", 1), (7, "park", 2),
    ]
)  # fmt: skip
PROFILES = "".join(
    f"{user}\t{gender}\t3\t4\n"
    for user, gender in [
        (10, "female"), (2, "male"), (3, "male"), (4, "none"), (6, "Female"),
        (7, "male"), (99, "male"),
    ]
)  # fmt: skip


def foursquare(
    tmp_path: Path, visits: str = VISITS, profiles: str = PROFILES, **settings: object
) -> Dataset:
    folder = tmp_path / "foursquare"
    folder.mkdir(exist_ok=True)
    files = {}
    for name, text in {
        "dataset_TIST2015_Checkins.txt": visits,
        "dataset_UbiComp2016_UserProfile_NYC.txt": profiles,
    }.items():
        files[name] = folder / name
        files[name].write_bytes(text.encode("latin-1"))
    registry = at_hand(tmp_path, "foursquare", files, records=4)
    small = {"length": 4, "venues": 2}
    return make(tmp_path, registry, source="foursquare", **{**small, **settings})


def test_foursquare(tmp_path: Path) -> None:
    dataset = foursquare(tmp_path)
    # 3 has one venue, 4 states no gender, 5 has no profile, 99 was nowhere
    assert dataset.info["class_names"] == ["female", "male"]
    assert dataset.labels.tolist() == [1, 0, 1, 0]
    # counted where they can be learned from
    assert dataset.info["vocabulary"] == ["park", "gym", "bar"]
    # 2, 6, 7, 10, each in order of time
    assert dataset.inputs.tolist() == [
        [3, 2, 0, 0],
        [2, 1, 0, 0],
        [2, 1, 0, 0],
        [3, 1, 1, 0],
    ]
    assert dataset.info["remarks"][0] == (
        "people of known gender with at least 2 different venues, of 5; a word is a "
        "venue"
    )
    with pytest.raises(UserError, match="venues: 3: no person of known gender has"):
        foursquare(tmp_path, venues=3)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"visits": VISITS[:-9]}, "ins.txt: line 15: 3 fields; allowed: 4, with tabs"),
        (
            {"visits": VISITS.replace("2012\t-240", "20\t-240", 1)},
            "ins.txt: line 1: time: 'Tue Apr 03 18:09:09 +0000 20'; allowed: as Tue",
        ),
        (
            {"visits": VISITS + visit(2, "", 1)},
            "ins.txt: line 16: venue: ''; allowed: a name",
        ),
        (
            {"visits": VISITS.replace("10\t", "x\t", 1)},
            "ins.txt: line 1: user: 'x'; allowed: a whole number",
        ),
        # eight fields, as people of other numbers have
        (
            {"visits": "2\tbar\tc1\tBar\t40.7\t-74.0\t-240\tTue Apr 03\n"},
            "ins.txt: line 1: 8 fields; allowed: 4, with tabs between them",
        ),
        (
            {"profiles": PROFILES.replace("none", "robot")},
            "UserProfile_NYC.txt: line 4: gender: 'robot'; allowed: female, male, none",
        ),
        (
            {"profiles": PROFILES.replace("\t3", "")},
            "UserProfile_NYC.txt: line 1: 3 fields; allowed: 4, with tabs between them",
        ),
        (
            {"profiles": PROFILES + "2\tfemale\t1\t1\n"},
            "line 8: gender: 'female', 'male' before; allowed: one a person",
        ),
        ({"profiles": ""}, "ins.txt: venues: 2: no person of known gender has as many"),
    ],
)
def test_damaged_files_of_foursquare_are_refused(
    tmp_path: Path, files: dict, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        foursquare(tmp_path, **files)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


# ---- CSI

LISTED = (
    "File Name;Author ID;Sentiment;Veracity;Product\n"
    "b.txt;a2;Positive;true;film\n"
    "a;a1;negative;Deceptive;film\n"
    "c;a2;positive;Truthful;boek\n"
    "d;a2;negative;false;boek\n"
)
CSI = {
    "CSI/List.CSI.ReviewsData.1.4.csv": LISTED.encode(),
    "CSI/List.CSI.AuthorsData.1.4.csv": (
        "\ufeffAuthorID,Gender,Region\na1,F,Antwerpen\na2,male,West-Vlaanderen\n"
    ).encode(),
    "CSI/Reviews/a.txt": "Slecht, h\xe9\xe9l slecht".encode(),
    "CSI/Reviews/b.txt": b"Goed boek",
    "CSI/Reviews/c.txt": b"goed",
    "CSI/Reviews/d.txt": b"slecht boek",
    "CSI/Essays/e.txt": b"not in the table",
    "CSI/readme.pdf": b"\xff",
    # no reviews: in Latin-1, what macOS adds, and one name twice
    "CSI/README.txt": "Gelezen in Th\xe9r\xe8se".encode("latin-1"),
    "CSI/Essays/README.txt": b"",
    "CSI/Reviews/._a.txt": b"\x00\x05\x16\x07\xff",
}


def csi(tmp_path: Path, members: dict[str, bytes] = CSI, **settings: object) -> Dataset:
    path = data_files.tar(tmp_path / "csi" / "csi.tar", members, "w")
    registry = at_hand(tmp_path, "csi", {path.name: path}, records=4)
    return make(tmp_path, registry, source="csi", **settings)


def test_csi(tmp_path: Path) -> None:
    dataset = csi(tmp_path, length=4)
    # by file name
    assert dataset.info["class_names"] == ["negative", "positive"]
    assert dataset.labels.tolist() == [0, 1, 1, 0]
    assert dataset.info["vocabulary"] == ["slecht", "boek", "goed", "h\xe9\xe9l"]
    assert dataset.inputs.tolist() == [
        [1, 4, 1, 0],
        [3, 2, 0, 0],
        [3, 0, 0, 0],
        [1, 2, 0, 0],
    ]
    attributes = dataset.attributes
    assert attributes["gender"].tolist() == ["female", "male", "male", "male"]
    assert attributes["region"].tolist()[:2] == ["Antwerpen", "West-Vlaanderen"]
    assert attributes["veracity"].tolist() == [
        *("deceptive", "truthful", "truthful", "deceptive")
    ]
    assert attributes["author"].tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize(
    ("place", "old", "new", "message"),
    [
        ("Reviews", b"Positive", b"fine", "line 2: sentiment: 'fine'; allowed: negati"),
        ("Reviews", b"Deceptive", b"", "line 3: veracity: ''; allowed: truthful, true"),
        ("Reviews", b";Veracity", b"", "csv: no column 'veracity'; it has: filename, "),
        ("Reviews", b";true;film", b"", "line 2: 3 fields; allowed: 5"),
        ("Reviews", b"b.txt", b"x.txt", "line 2: filename: 'x.txt'; allowed: a text"),
        ("Reviews", b";a1;", b";a9;", "line 3: authorid: 'a9'; allowed: one in the ta"),
        ("Reviews", LISTED[47:].encode(), b"", "csv: no records"),
        ("Authors", b"F,", b"X,", "line 2: gender: 'X'; allowed: female, f, male, m"),
        ("Authors", b"Antwerpen", b"", "line 2: region: ''; allowed: a name"),
        ("Authors", b"Gender", b"Sex", "csv: no column 'gender'; it has: authorid, se"),
        ("Authors", b"a1", b"\xff", "AuthorsData.1.4.csv: not utf-8: "),
        ("Authors", b"a1", b"a2", "line 3: authorid: 'a2'; allowed: once in this"),
        ("Reviews", b"\na;", b"\nb;", "line 3: filename: 'b'; allowed: once in this t"),
    ],
)
def test_bad_tables_of_csi_are_refused(
    tmp_path: Path, place: str, old: bytes, new: bytes, message: str
) -> None:
    [name] = [name for name in CSI if f"List.CSI.{place}" in name]
    assert old in CSI[name]
    with pytest.raises(UserError) as caught:
        csi(tmp_path, {**CSI, name: CSI[name].replace(old, new, 1)})
    assert str(caught.value).startswith(f"{tmp_path / 'csi' / 'csi.tar'}: {name}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_reviews_of_csi_are_there_once_and_utf8(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        csi(tmp_path, {**CSI, "CSI/Essays/b.txt": b"an essay"})
    assert str(caught.value) == (
        f"{tmp_path / 'csi' / 'csi.tar'}: CSI/List.CSI.ReviewsData.1.4.csv: line 2: "
        "filename: 'b.txt'; allowed: a text in the archive, not several: "
        "CSI/Reviews/b.txt, CSI/Essays/b.txt"
    )
    with pytest.raises(UserError, match=r"csi\.tar: CSI/Reviews/c\.txt: not utf-8: "):
        csi(tmp_path, {**CSI, "CSI/Reviews/c.txt": b"\xe9"})
    assert not (tmp_path / "out").exists()


def test_archives_of_csi_have_one_table_of_either_kind(tmp_path: Path) -> None:
    authors = "CSI/List.CSI.AuthorsData.1.4.csv"
    with pytest.raises(UserError, match=r"2 tables List\.CSI\.Authors\*\.csv in this"):
        csi(tmp_path, {**CSI, "old/List.CSI.Authors.csv": CSI[authors]})
    without = {name: text for name, text in CSI.items() if name != authors}
    with pytest.raises(UserError, match=r"0 tables List\.CSI\.Authors\*\.csv in this"):
        csi(tmp_path, without)
