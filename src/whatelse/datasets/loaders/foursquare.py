"""FourSquare: check-ins of New Yorkers, and what profiles say of people's gender.

A person is a text whose words are venues, in the order of the visits (P3, Sec. V-A).
Profiles number people as the check-ins of the whole world do, whose 33 million lines
are read one by one. Those of New York alone (TSMC2014) have numbers of their own.
"""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from whatelse.datasets.loaded import Loaded
from whatelse.datasets.loaders.tokens import as_loaded
from whatelse.datasets.settings import Foursquare
from whatelse.errors import UserError

GENDERS = ("female", "male")
_UNSTATED = ("", "none")
# user, venue, time, offset of local time in minutes
_VISIT = 4
# user, gender, friends and followers on Twitter
_PROFILE = 4
_TIME = "%a %b %d %H:%M:%S %z %Y"


def load(settings: Foursquare, files: Mapping[str, Path]) -> Loaded:
    """Return the people of known gender who go to enough venues, by number."""
    path = files["dataset_TIST2015_Checkins.txt"]
    genders = _genders(files["dataset_UbiComp2016_UserProfile_NYC.txt"])
    visits: dict[int, tuple[array[int], list[str]]] = {}
    names: dict[str, str] = {}  # one string a venue, however many go there
    for where, (text, venue, time, _) in _rows(path, _VISIT):
        if (user := _user(where, text)) not in genders:
            continue
        if not venue:
            raise UserError(f"{where}: venue: {venue!r}; allowed: a name")
        try:
            moment = int(datetime.strptime(time, _TIME).timestamp())
        except ValueError:
            raise UserError(
                f"{where}: time: {time!r}; allowed: as Tue Apr 03 18:00:09 +0000 2012"
            ) from None
        moments, venues = visits.setdefault(user, (array("q"), []))
        moments.append(moment)
        venues.append(names.setdefault(venue, venue))
    users = sorted(
        user
        for user, (_, venues) in visits.items()
        if len({*venues}) >= settings.venues
    )
    if not users:
        raise UserError(
            f"{path}: venues: {settings.venues}: no person of known gender has as "
            "many; allowed: fewer"
        )
    return as_loaded(
        path,
        (_in_order(*visits[user]) for user in users),
        settings,
        labels=[GENDERS.index(genders[user]) for user in users],
        class_names=GENDERS,
        attributes={},
        remarks=(
            f"people of known gender with at least {settings.venues:,} different "
            f"venues, of {len(visits):,}; a word is a venue",
        ),
    )


def _in_order(moments: Sequence[int], venues: Sequence[str]) -> list[str]:
    # Stable: visits of one second stay in the file's order.
    return [
        venues[visit] for visit in sorted(range(len(venues)), key=moments.__getitem__)
    ]


def _genders(path: Path) -> dict[int, str]:
    """Return the gender of each person who states one."""
    found: dict[int, str] = {}
    for where, (user, gender, *_) in _rows(path, _PROFILE):
        stated = gender.strip().lower()
        if stated not in (*GENDERS, *_UNSTATED):
            raise UserError(
                f"{where}: gender: {gender!r}; allowed: {', '.join(GENDERS)}, none"
            )
        if found.setdefault(_user(where, user), stated) != stated:
            raise UserError(
                f"{where}: gender: {gender!r}, {found[int(user)]!r} before; allowed: "
                "one a person"
            )
    return {user: stated for user, stated in found.items() if stated in GENDERS}


def _user(where: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise UserError(f"{where}: user: {text!r}; allowed: a whole number")
    return int(text)


def _rows(path: Path, count: int) -> Iterator[tuple[str, list[str]]]:
    """Yield each line's fields, and what errors call the line."""
    with open(path, encoding="latin-1", newline="\n") as file:
        for number, line in enumerate(file, 1):
            fields = line.rstrip("\r\n").split("\t")
            where = f"{path}: line {number}"
            if len(fields) != count:
                raise UserError(
                    f"{where}: {len(fields)} fields; allowed: {count}, with tabs "
                    "between them"
                )
            yield where, fields
