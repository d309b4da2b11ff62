"""From raw files to the data set artefact."""

import importlib
from pathlib import Path
from typing import cast

from whatelse import records, sources
from whatelse.datasets import registry as registries
from whatelse.datasets.loaded import Loaded
from whatelse.datasets.loaders import LOADERS, OWN
from whatelse.datasets.settings import DatasetBase, DatasetSettings
from whatelse.datasets.store import write_dataset
from whatelse.errors import UserError


def code_of(source: str) -> tuple[Path, ...]:
    """Return the source files that make a data set of this source."""
    return sources.closure(
        "whatelse.datasets.prepare", LOADERS[source].partition(":")[0]
    )


def prepare(
    settings: DatasetSettings,
    *,
    raw: str | Path,
    out: str | Path,
    registry: str | Path,
) -> None:
    """Load, check and write a data set.

    Parameters
    ----------
    settings : DatasetSettings
        The resolved settings.
    raw : str or Path
        Where `fetch` put the files of the registry's data sets.
    out : str or Path
        The artefact.
    registry : str or Path
        The registry file.

    Raises
    ------
    UserError
        If files are missing, are not what they should be, or hold values that are not
        allowed.
    """
    module, _, function = LOADERS[settings.source].partition(":")
    load = getattr(importlib.import_module(module), function)
    if settings.source in OWN:
        loaded = cast(Loaded, load(settings))
        _write(out, settings, loaded, entry=None, found={})
        return
    entry = registries.entry_of(registries.read_registry(registry), settings.source)
    found = find(settings.source, entry, raw=raw)
    files = {name: file.path for name, file in found.items()}
    loaded = cast(Loaded, load(settings, files))
    _write(out, settings, loaded, entry=entry, found=found)


def find(
    name: str, entry: registries.Entry, *, raw: str | Path
) -> dict[str, registries.Found]:
    """Find the raw files of a data set and check their digests.

    Parameters
    ----------
    name : str
        Of the data set.
    entry : Entry
        Its part of the registry.
    raw : str or Path
        Where `fetch` put files.

    Returns
    -------
    dict of str to Found
        By the files' published names.

    Raises
    ------
    UserError
        If a file was not fetched, or is no edition that is known or was trusted.
    """
    raw = Path(raw)
    listed = raw / name / registries.FETCHED
    if entry.files and not listed.is_file():
        raise UserError(
            f"{listed}: missing: fetch the data first: "
            f"whatelse datasets fetch {name} --raw {raw}"
        )
    found = {}
    trusted = records.read_json(listed).get("trusted", {}) if entry.files else {}
    for file in entry.files:
        places = [raw / path for path in file.paths if (raw / path).is_file()]
        if not places:
            raise UserError(
                f"{raw / file.paths[0]}: missing: fetch it again: "
                f"whatelse datasets fetch {name} --raw {raw}"
            )
        at_hand = registries.identify(places[0], file, trust=True)
        if not file.editions and trusted.get(file.name) != at_hand.sha256:
            raise UserError(
                f"{places[0]}: sha256 {at_hand.sha256} is not the file that was "
                f"trusted; allowed: {trusted.get(file.name)}"
            )
        found[file.name] = at_hand
    return found


def _write(
    out: str | Path,
    settings: DatasetBase,
    loaded: Loaded,
    *,
    entry: registries.Entry | None,
    found: dict[str, registries.Found],
) -> None:
    dumped = settings.model_dump(mode="json")
    source = dumped["source"]
    remarks = [file.remark for file in found.values() if file.remark]
    if entry and len(loaded.labels) != entry.records:
        remarks.append(
            f"{len(loaded.labels)} records; the published data set has {entry.records}"
        )
    origin = dumped.get("path", source)
    write_dataset(
        out,
        inputs=loaded.inputs,
        labels=loaded.labels,
        info={
            "name": source if entry else Path(origin).stem,
            "title": loaded.title or (entry.title if entry else Path(origin).stem),
            "class_names": loaded.class_names,
            "scale": loaded.scale,
            "shift": loaded.shift,
            "feature_names": loaded.feature_names,
            "vocabulary": loaded.vocabulary,
            "licence": entry.licence if entry else None,
            "citation": entry.citation if entry else None,
            "source": entry.page
            if entry
            else loaded.digest and f"sha256 {loaded.digest}",
            "stand_in_for": entry.stand_in_for if entry else None,
            "remarks": [*remarks, *loaded.remarks],
        },
        settings=dumped,
        attributes=loaded.attributes,
        inputs_from={
            **{name: file.path for name, file in found.items()},
            **loaded.files,
        },
        code=code_of(source),
        origin=origin,
    )
