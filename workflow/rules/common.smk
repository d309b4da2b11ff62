"""Studies, resolved: what each rule's wildcards stand for.

Reads the study files that config names; makes nothing.
"""

import json
import os
import shutil
from contextlib import suppress
from functools import cache

from snakemake.exceptions import WorkflowError

from whatelse.claims.tables import headlines
from whatelse.datasets.registry import entry_of, read_registry
from whatelse.errors import UserError
from whatelse.records import key_of, read_json
from whatelse.studies.resolve import code_paths, load_study

HOME = os.path.relpath(workflow.basedir)
REGISTRY = os.path.normpath(f"{HOME}/data/datasets.yaml")
PUBLISHED = os.path.normpath(f"{HOME}/data/published")
# What jobs run in, for linter and report: Snakemake is called from inside it, since
# `--sdm conda` cannot install a checkout.
ENVIRONMENT = os.path.join(workflow.basedir, "environment.yml")


def load_studies():
    """Return the resolved studies by name."""
    found = {}
    for path in config["studies"]:
        try:
            resolved = load_study(path, replicates=config.get("replicates"))
        except UserError as error:
            raise WorkflowError(str(error)) from None
        name = resolved.study.study
        if name in found:
            raise WorkflowError(f"{path}: study: {name} is the name of two files")
        found[name] = resolved
    return found


def join_studies(studies):
    """Return all artefacts by folder; studies that ask for the same share it."""
    return {
        artefact.folder: artefact
        for resolved in studies.values()
        for artefact in resolved.artefacts
    }


def number_blocks(artefacts):
    """Return where each block stands among all, by key and range of models."""
    blocks = (artefact for artefact in artefacts if artefact.kind == "train")
    return {
        (block.labels["key"], block.labels["models"].replace(":", "-")): number
        for number, block in enumerate(blocks)
    }


def findings(studies):
    """Return what was found so far, as the report's first page lists it."""
    found = []
    for resolved in studies.values():
        path = Path("results/claims", resolved.study.study, "claims.json")
        if resolved.study.claims and path.exists():
            found.append(headlines(resolved.study.title, read_json(path)))
    return found


STUDIES = load_studies()
ARTEFACTS = join_studies(STUDIES)
BLOCK_NUMBERS = number_blocks(ARTEFACTS.values())
config["found"] = findings(STUDIES)


def record(folder):
    """Return the record of an artefact: what the next step takes as input."""
    return f"{folder}/record.json"


def study_targets(question=None):
    """Return what studies end in, of all questions or of one.

    Every record is named: Snakemake does not miss what only leads to a target.
    """
    chosen = [r for r in STUDIES.values() if question in (None, r.study.question)]
    tracked = [f"results/tracking/{resolved.study.study}.json" for resolved in chosen]
    made = [record(artefact.folder) for r in chosen for artefact in r.artefacts]
    return [*tracked, *made]


def artefact_of(pattern):
    """Return a function from wildcards to the artefact in a folder."""
    return lambda wildcards: ARTEFACTS[pattern.format(**wildcards)]


def upstream(pattern):
    """Return an input function: the records that an artefact is made from."""
    find = artefact_of(pattern)
    return lambda wildcards: [record(folder) for folder in find(wildcards).upstream]


def files(pattern):
    """Return an input function: the plain files that an artefact is made from."""
    find = artefact_of(pattern)
    return lambda wildcards: list(find(wildcards).files)


def code(pattern):
    """Return an input function: the sources of the kind that makes an artefact."""
    find = artefact_of(pattern)
    return lambda wildcards: code_paths(find(wildcards).modules)


def spec(pattern):
    """Return a params function: the resolved settings as the verb's argument."""
    find = artefact_of(pattern)
    return lambda wildcards: find(wildcards).spec_json


def label(pattern, name):
    """Return a params function: one of an artefact's labels."""
    find = artefact_of(pattern)
    return lambda wildcards: find(wildcards).labels[name]


def report_labels(pattern, form):
    """Return a labels function: how the report lists a figure."""
    title = label(pattern, "title")
    return lambda wildcards: {"figure": title(wildcards), "form": form}


def folders(pattern, role):
    """Return a params function: the upstream folders of a role."""
    find = artefact_of(pattern)
    return lambda wildcards: find(wildcards).inputs[role]


def known_files(wildcards):
    """Return a digest of the editions that the registry knows of a data set."""
    known = entry_of(read_registry(REGISTRY), wildcards.source).files
    return key_of([file.model_dump(mode="json", exclude={"urls"}) for file in known])


def study_records(wildcards):
    """Return the records of everything in a study."""
    return [record(artefact.folder) for artefact in STUDIES[wildcards.study].artefacts]


def study_arguments(wildcards):
    """Return a study's file, and how many replicates of it are run if not all."""
    path = str(STUDIES[wildcards.study].path)
    if config.get("replicates") is not None:
        return [path, "--replicates", str(config["replicates"])]
    return path


def attack_arguments(wildcards):
    """Return ``--input`` once for each role, with its folders."""
    attack = ARTEFACTS["results/attacks/{study}/{attack}".format(**wildcards)]
    return [
        word
        for role, folders in attack.inputs.items()
        for word in ("--input", role, *folders)
    ]


def optional_arguments(pattern, role):
    """Return a function to ``--role`` and its folder, if an artefact has one."""
    find = artefact_of(pattern)

    def arguments(wildcards):
        folders = find(wildcards).inputs.get(role, ())
        return [word for folder in folders for word in (f"--{role}", folder)]

    return arguments


def published_folder(wildcards):
    """Return where the papers' numbers lie."""
    return PUBLISHED


def group_of_block(wildcards):
    """Return the scheduler's job for a block: so many neighbours share one.

    How many is said by `group-components: models=N` of the profile. Snakemake by itself
    would deal blocks out at random; neighbours are mostly of one family, and can be
    trained as one ensemble.
    """
    return group_of_number(BLOCK_NUMBERS[wildcards.key, wildcards.block])


def group_of_shadow_data(wildcards):
    """Return the scheduler's job for shadow data: that of the first block that learns it.

    The target, which it is made from, may be in that job too: between them, a job of
    its own would wait for that one, and that one for it.
    """
    folder = "results/datasets/shadow/{step}/{key}".format(**wildcards)
    blocks = [a for a in ARTEFACTS.values() if a.kind == "train"]
    return group_of_number(
        next(n for n, block in enumerate(blocks) if folder in block.inputs["data"])
    )


def group_of_number(number):
    """Return the scheduler's job for the block of a number."""
    per_job = workflow.group_settings.group_components.get("models", 1)
    group = f"models-{number // per_job}"
    # `models` in the profile speaks for all of these.
    workflow.parent_groupids[group] = "models"
    return group


def blocks_ahead(wildcards):
    """Return the blocks that a job trains together with this one, as JSON.

    Snakemake hands a scheduler's job its rules one by one; the first block to be
    trained takes the models of the others along, and these find them finished.
    """
    mine = ARTEFACTS[f"results/models/{wildcards.key}/block_{wildcards.block}"]
    ahead = []
    for artefact in blocks_of_this_job():
        if artefact.folder != mine.folder and artefact.inputs == mine.inputs:
            if {**artefact.spec, "replicate": mine.spec["replicate"]} == mine.spec:
                ahead.append(
                    {
                        "replicate": artefact.spec["replicate"],
                        "models": artefact.labels["models"],
                        "progress": str(progress(artefact)),
                    }
                )
    return json.dumps(ahead)


@cache
def blocks_of_this_job():
    """Return the blocks that a scheduler's job was started for; none anywhere else.

    The job's first Snakemake knows all of them and starts one of its own for each.
    """
    if not workflow.remote_exec:
        return []
    folders = {
        f"results/models/{job.wildcards_dict['key']}/block_{job.wildcards_dict['block']}"
        for job in workflow.dag_settings.target_jobs
        if job.rulename == "train_block"
    }
    all_of_them = os.environ.setdefault("WHATELSE_BLOCKS", " ".join(sorted(folders)))
    return [ARTEFACTS[folder] for folder in all_of_them.split()]


def title_of(wildcards):
    """Return a study's heading, the category of its figures in the report."""
    return STUDIES[wildcards.study].study.title


def progress(artefact):
    """Return where a block in work keeps its finished models and its curves."""
    block = Path(artefact.folder).name
    return Path("results/progress", artefact.labels["key"], block)


def clear_leavings():
    """Remove the progress of blocks that are done, and what killed jobs left."""
    done = [a for a in ARTEFACTS.values() if os.path.exists(record(a.folder))]
    for artefact in done:
        folder = Path(artefact.folder)
        for path in folder.glob(".*.tmp*"):
            path.unlink()
        for path in folder.parent.glob(f".{folder.name}.*.tmp"):
            shutil.rmtree(path)
        if artefact.kind in ("train", "collaborate"):
            shutil.rmtree(progress(artefact), ignore_errors=True)
            with suppress(OSError):
                progress(artefact).parent.rmdir()


wildcard_constraints:
    dataset=r"[a-z0-9-]+-[0-9a-f]{16}",
    step=r"[a-z-]+",
    source=r"[a-z0-9-]+",
    key=r"[0-9a-f]{16}",
    release=r"[0-9a-f]{16}",
    block=r"\d+-\d+",
    study=r"[a-z0-9][a-z0-9_-]*",
    attack=r"[A-Za-z0-9_.+-]+",
    figure=r"[a-z0-9_-]+",
