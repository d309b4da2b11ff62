"""Yelp's open data set: reviews of businesses, one JSON object a line.

P3 predicts stars from reviews of doctors (Yelp-health) and from reviews by ten people
(Yelp-author). It names four of its ten specialties; the others are taken from Yelp's
categories of doctors.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from whatelse.datasets.loaded import Loaded
from whatelse.datasets.loaders.json_lines import objects, text_of
from whatelse.datasets.loaders.tokens import as_loaded, split_words
from whatelse.datasets.settings import Yelp
from whatelse.errors import UserError

SPECIALTIES = {
    "Cardiologists": "cardiology",
    "Dermatologists": "dermatology",
    "Ear Nose & Throat": "ear, nose and throat",
    "Family Practice": "family practice",
    "Obstetricians & Gynecologists": "obstetrics",
    "Ophthalmologists": "ophthalmology",
    "Orthopedists": "orthopedics",
    "Pediatricians": "pediatrics",
    "Psychiatrists": "psychiatry",
    "Urologists": "urology",
}
"""Yelp's category to what the attribute calls it."""

STARS = (1, 2, 3, 4, 5)


def load(settings: Yelp, files: Mapping[str, Path]) -> Loaded:
    """Return the reviews of the subset, in the file's order."""
    path = files["yelp_academic_dataset_review.json"]
    of: Mapping[str, str | int]
    if settings.subset == "health":
        name, field = "specialty", "business_id"
        of = _specialties(files["yelp_academic_dataset_business.json"])
        described = "reviews of doctors with one of ten specialties, not with several"
    else:
        name, field = "author", "user_id"
        of = _authors(path, settings.authors)
        described = f"reviews by the {settings.authors} people with the most"
    texts, labels, properties = [], [], []
    for where, review in objects(path):
        key = text_of(where, review, field)
        if key not in of:
            continue
        stars = review.get("stars")
        if isinstance(stars, bool) or stars not in STARS:
            raise UserError(f"{where}: stars: {stars!r}; allowed: 1, 2, 3, 4, 5")
        texts.append(text_of(where, review, "text"))
        labels.append(STARS.index(stars))
        properties.append(of[key])
    if not texts:
        raise UserError(f"{path}: none of the {described}; allowed: at least 10")
    return as_loaded(
        path,
        map(split_words, texts),
        settings,
        labels=labels,
        class_names=tuple(map(str, STARS)),
        attributes={name: properties},
        remarks=(described,),
    )


def _specialties(path: Path) -> dict[str, str]:
    """Return the specialty of each business that has exactly one."""
    found = {}
    for where, business in objects(path):
        categories = business.get("categories", "")
        # Text with commas, null for none; a list in old editions.
        if isinstance(categories, str):
            categories = categories.split(",")
        if not isinstance(categories or [], list):
            raise UserError(
                f"{where}: categories: {categories!r}; allowed: names with commas"
            )
        names = {str(name).strip() for name in categories or []}
        known = [word for name, word in SPECIALTIES.items() if name in names]
        if len(known) == 1:
            found[text_of(where, business, "business_id")] = known[0]
    if not found:
        raise UserError(
            f"{path}: categories: no doctors; allowed: {', '.join(SPECIALTIES)}"
        )
    return found


def _authors(path: Path, count: int) -> dict[str, int]:
    """Return the most prolific reviewers, by number: names stay out of reports."""
    written = Counter(text_of(where, one, "user_id") for where, one in objects(path))
    if count > len(written):
        raise UserError(
            f"{path}: authors: {count}; allowed: 2 to {len(written)}, as many as "
            "there are"
        )
    ranked = sorted(written, key=lambda user: (-written[user], user))
    return {user: number for number, user in enumerate(ranked[:count])}
