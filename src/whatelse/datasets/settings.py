"""Settings of data sets: which source, and how its records are made.

Pure descriptions, checked by pydantic; the study grammar and the command line read
the same classes. Numbers are strict: YAML's ``1e-3`` is text and is refused.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

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
    | Npz
    | Table
    | Images,
    Field(discriminator="source"),
]
