"""Settings of data sets: which source, and how its records are made.

Pure descriptions, checked by pydantic; the study grammar and the command line read
the same classes. Numbers are strict: YAML's ``1e-3`` is text and is refused.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Names = Annotated[tuple[str, ...], Field(strict=False)]


class DatasetBase(BaseModel):
    """What every data set has."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Digits(DatasetBase):
    """8x8 handwritten digits, bundled with scikit-learn: no download."""

    source: Literal["digits"] = Field(description="1,797 images, 10 classes.")


class Location(DatasetBase):
    """P1's Location data: Foursquare check-ins in Bangkok."""

    source: Literal["location"] = Field(description="5,010 x 446 bits, 30 classes.")


class Adult(DatasetBase):
    """UCI Adult: census answers, and whether one earns more than 50,000 dollars."""

    source: Literal["adult"] = Field(
        description="48,842 people, 14 attributes, 2 classes; numbers standardised, "
        "categories one-hot, a missing category is a category of its own."
    )


class Mnist(DatasetBase):
    """28x28 handwritten digits."""

    source: Literal["mnist"] = Field(
        description="70,000 images, 10 classes; the published training images first."
    )


class Cifar10(DatasetBase):
    """32x32 colour images."""

    source: Literal["cifar10"] = Field(
        description="60,000 images, 10 classes; the published training images first."
    )


class Cifar100(DatasetBase):
    """32x32 colour images, fine labels."""

    source: Literal["cifar100"] = Field(
        description="60,000 images, 100 classes; the published training images first."
    )


class Retail(DatasetBase):
    """Real shopping baskets under P1's recipe for its Purchase data."""

    source: Literal["retail"] = Field(
        description="A stand-in for Purchase: the 600 most frequent items of a "
        "supermarket as bits, k-means clusters as classes."
    )
    classes: int = Field(
        100,
        ge=2,
        le=100,
        description="Clusters asked for; P1 has 2, 10, 20, 50 and 100. Clusters of "
        "fewer than 200 baskets are merged into their nearest, so fewer may be left.",
    )
    seed: int = Field(
        0, ge=0, lt=2**31, description="Seed of k-means; the same for all studies."
    )


class Purchase100(DatasetBase):
    """P1's Purchase data with 100 classes, in its published form."""

    source: Literal["purchase100"] = Field(
        description="197,324 x 600 bits, 100 classes; no digest is known to us."
    )


class Texas100(DatasetBase):
    """P1's Texas hospital stays, in their published form."""

    source: Literal["texas100"] = Field(
        description="67,330 x 6,169 bits, 100 classes; no digest is known to us."
    )


class Faces(DatasetBase):
    """25x25 grey patches, bundled with scikit-image: no download."""

    source: Literal["faces"] = Field(
        description="200 images, 2 classes: 100 faces of LFW, 100 patches of its "
        "backgrounds."
    )


class Lfw(DatasetBase):
    """Labeled Faces in the Wild, with attributes that public models predicted."""

    source: Literal["lfw"] = Field(
        description="12,949 colour photographs 62x47 of people, cropped as "
        "scikit-learn does; labels are predictions of public face models."
    )
    task: Literal["gender", "smiling", "eyeglasses", "race"] = Field(
        "gender", description="What is to be predicted."
    )
    size: int | None = Field(
        None,
        ge=8,
        le=256,
        description="Width and height that images are resized to; 62x47 if left out.",
    )


class LfwAttributes(DatasetBase):
    """Labeled Faces in the Wild, with the attributes that P2 and P3 have."""

    source: Literal["lfw-attributes"] = Field(
        description="13,143 colour photographs 62x47 of people, with the attributes of "
        "Kumar et al. (2009), `lfw_attributes.txt`; no digest of that file is known to "
        "us."
    )
    task: Literal["gender", "smiling", "race", "eyewear", "age", "hair"] = Field(
        "gender",
        description="What is to be predicted; photographs of which it is not known are "
        "left out.",
    )
    size: int | None = Field(
        None,
        ge=8,
        le=256,
        description="Width and height that images are resized to; 62x47 if left out.",
    )


class Utkface(DatasetBase):
    """UTKFace: aligned faces with gender, race and age."""

    source: Literal["utkface"] = Field(
        description="23,705 colour images of faces; 2, 5 or 5 classes."
    )
    task: Literal["gender", "race", "age"] = Field(
        "gender",
        description="What is to be predicted; ages in five groups: 0-19, 20-34, 35-49, "
        "50-64, 65 and more.",
    )
    size: Literal[32, 64] = Field(64, description="Width and height of the images.")


class Facescrub(DatasetBase):
    """FaceScrub: faces of actors and actresses that you have downloaded yourself."""

    source: Literal["facescrub"] = Field(
        description="Colour images of 530 people's faces in a tar archive of your own, "
        "`actors/<name>/<name>_<image>_<face>.jpeg` and `actresses/...`; no digest is "
        "known to us."
    )
    task: Literal["gender", "identity"] = Field(
        "gender", description="What is to be predicted."
    )
    size: int = Field(
        50, ge=8, le=256, description="Width and height that images are resized to."
    )
    people: int | None = Field(
        None,
        ge=2,
        description="Only the people with the most images, so many of them; P3 has "
        "100. Everyone if left out.",
    )


class _Words(DatasetBase):
    first_tokens: int = Field(
        100,
        ge=1,
        le=100_000,
        description="The attribute `tokens` has the first so many words of a text that "
        "are in the vocabulary, by number.",
    )


class Newsgroups(_Words):
    """20 Newsgroups, split by date, as bags of words."""

    source: Literal["newsgroups"] = Field(
        description="18,846 messages, 20 classes: TF-IDF of the words of the training "
        "part, headers included."
    )
    min_documents: int = Field(
        1,
        ge=1,
        description="Words of fewer training messages are left out; 130,107 words "
        "stay with 1.",
    )


class Imdb(_Words):
    """Reviews of films, as bags of words."""

    source: Literal["imdb"] = Field(
        description="50,000 reviews, bad or good: TF-IDF of the words of the training "
        "part."
    )
    min_documents: int = Field(
        10,
        ge=1,
        description="Words of fewer training reviews are left out. P2 says of its "
        "models only that they have about 300,000 parameters.",
    )


class TokensBase(DatasetBase):
    """What every data set of words in their order has."""

    length: int = Field(
        100,
        ge=1,
        le=10_000,
        description="A record is the first so many words of a text that are in the "
        "vocabulary, by number; shorter ones end in zeros.",
    )
    vocabulary: int = Field(
        5000,
        ge=10,
        le=65_535,
        description="So many of the most frequent words are known; the others are "
        "left out.",
    )


class Blogs(TokensBase):
    """Blog Authorship Corpus: posts, and what the bloggers say of themselves."""

    source: Literal["blogs"] = Field(
        description="29,229 posts of 2,000 authors in three age groups, 13-17, 23-27 "
        "and 33-48, as words in their order."
    )
    posts: int = Field(
        20,
        ge=1,
        description="Of each author at most so many posts, the first in the file.",
    )
    min_words: int = Field(
        10, ge=1, description="Posts with fewer words of the vocabulary are left out."
    )


class Yelp(TokensBase):
    """Yelp's open data set: reviews with stars."""

    source: Literal["yelp"] = Field(
        description="Reviews with one to five stars, as words in their order; no "
        "digest is known to us."
    )
    subset: Literal["health", "authors"] = Field(
        "health",
        description="P3's reviews of doctors with one of ten specialties, or those by "
        "the most prolific reviewers.",
    )
    authors: int = Field(
        10, ge=2, description="How many reviewers the subset `authors` has."
    )


class Foursquare(TokensBase):
    """Check-ins of New Yorkers: where they go, and whether they are women or men."""

    source: Literal["foursquare"] = Field(
        description="People by the venues that they check in at, in order of time; 2 "
        "classes; no digest is known to us."
    )
    vocabulary: int = Field(
        30_000,
        ge=10,
        le=65_535,
        description="So many of the most visited venues are known; the others are left "
        "out.",
    )
    venues: int = Field(
        10, ge=1, description="People with fewer different venues are left out."
    )


class Csi(TokensBase):
    """CLiPS Stylometry Investigation: reviews by students, true ones and made-up."""

    source: Literal["csi"] = Field(
        description="1,412 Dutch reviews, bad or good, as words in their order; no "
        "digest is known to us."
    )
    length: int = Field(
        300,
        ge=1,
        le=10_000,
        description="A record is the first so many words of a review that are in the "
        "vocabulary, by number; shorter ones end in zeros.",
    )


class NextWordsBase(DatasetBase):
    """What every data set of words has whose classes are the next word."""

    length: int = Field(
        20,
        ge=1,
        le=10_000,
        description="Words of a window; those of an author follow each other, and each "
        "one's class is the first word of the next.",
    )
    vocabulary: int = Field(
        5000,
        ge=10,
        le=65_535,
        description="So many words are known: one for all unknown ones, the end of a "
        "post, `words`, and the most frequent.",
    )
    words: Names = Field(
        (),
        description="Words that are known however rare they are: those of a backdoor.",
    )
    words_per_author: int = Field(
        1000,
        ge=2,
        le=10_000_000,
        description="Of each author at most so many words, the first, with unknown "
        "ones and ends of posts.",
    )
    least: int = Field(100, ge=2, description="Authors with fewer words are left out.")
    authors: int | None = Field(
        None,
        ge=1,
        description="Only so many authors, the first in order; all if left out.",
    )

    @model_validator(mode="after")
    def _some_have_enough(self) -> "NextWordsBase":
        if self.least > self.words_per_author:
            raise ValueError(
                f"least: {self.least}; allowed: 2..{self.words_per_author}, as "
                "words_per_author says"
            )
        return self


class BlogsWords(NextWordsBase):
    """Blog Authorship Corpus: what bloggers write, word by word."""

    source: Literal["blogs-words"] = Field(
        description="Windows of words by 2,000 authors; the class is the next word."
    )


class Reddit(NextWordsBase):
    """Comments of November 2017, by author."""

    source: Literal["reddit"] = Field(
        description="Windows of words by the authors of a month; the class is the next "
        "word; no digest is known to us."
    )
    min_posts: int = Field(
        150, ge=1, description="Authors of fewer comments are left out."
    )
    max_posts: int = Field(
        500, ge=1, description="Authors of more comments are left out."
    )


class Npz(DatasetBase):
    """Your own arrays."""

    source: Literal["npz"] = Field(
        description="An .npz file with `inputs` (records, ...) and `labels` (records,)."
    )
    path: str = Field(min_length=1, description="The .npz file.")
    title: str = Field("", description="Name in figures; the file's name if empty.")
    classes: int | None = Field(
        None,
        ge=2,
        description="Number of classes; labels are 0 to classes - 1. As many as the "
        "labels show if left out.",
    )
    scale: float = Field(
        1.0,
        gt=0,
        allow_inf_nan=False,
        description="What the inputs are multiplied by on their way into a model; "
        "0.00392156862745098 (1/255) for images of bytes.",
    )
    attributes: Names = Field(
        (), description="More arrays (records,) of the file: properties of records."
    )


class Table(DatasetBase):
    """Your own table."""

    source: Literal["table"] = Field(
        description="A .csv or .parquet file: numeric columns are standardised, all "
        "others one-hot, a missing category is a category of its own."
    )
    path: str = Field(min_length=1, description="The .csv or .parquet file.")
    label: str = Field(min_length=1, description="The column that is to be predicted.")
    title: str = Field("", description="Name in figures; the file's name if empty.")
    drop: Names = Field((), description="Columns that the models must not see.")
    attributes: Names = Field(
        (),
        description="Columns kept as properties of records; models see them too "
        "unless they are also in `drop`.",
    )


class Images(DatasetBase):
    """Your own images."""

    source: Literal["images"] = Field(
        description="A folder with one folder of images per class."
    )
    path: str = Field(min_length=1, description="The folder.")
    size: int = Field(
        ge=4, le=1024, description="Width and height that images are resized to."
    )
    title: str = Field("", description="Name in figures; the folder's name if empty.")


DatasetSettings = Annotated[
    Digits
    | Location
    | Adult
    | Mnist
    | Cifar10
    | Cifar100
    | Retail
    | Purchase100
    | Texas100
    | Faces
    | Lfw
    | LfwAttributes
    | Utkface
    | Facescrub
    | Newsgroups
    | Imdb
    | Blogs
    | BlogsWords
    | Reddit
    | Yelp
    | Foursquare
    | Csi
    | Npz
    | Table
    | Images,
    Field(discriminator="source"),
]
