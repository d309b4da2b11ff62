"""The command line: one verb a step, each imported only when it is called."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

import whatelse
from whatelse.errors import UserError

# A file that collects the one-line errors of a run's jobs: of each, as JSON, the folder
# that was to be made, and what is wrong.
ERRORS = "WHATELSE_ERRORS"

VERBS = {
    "run": ("whatelse.studies.run", "run studies from raw data to report"),
    "show": ("whatelse.studies.show", "print the results of a study as a table"),
    "check": ("whatelse.studies.check", "check a study file; write the schema"),
    "plan": ("whatelse.studies.plan.command", "say what a study takes, beforehand"),
    "audit": ("whatelse.studies.audit", "write a study of your own model's outputs"),
    "scrub": ("whatelse.memorization.scrub_file", "clean a model's file of payloads"),
    "detect": ("whatelse.memorization.detect_file", "tell if a model's file has one"),
    "layers": ("whatelse.studies.layers", "see what a net's layers tell"),
    "adopt": ("whatelse.studies.adopt", "accept pulled results whose digests match"),
    "unlock": ("whatelse.studies.unlock", "remove the lock that a killed run left"),
    "datasets": ("whatelse.datasets.command", "list, fetch, verify, prepare data sets"),
    "derive": (
        "whatelse.datasets.derived",
        "make a data set from another (a rule's step)",
    ),
    "train": ("whatelse.training.command", "train a block of models (a rule's step)"),
    "collaborate": (
        "whatelse.training.collaborate",
        "fit a joint model among participants (a rule's step)",
    ),
    "query": (
        "whatelse.training.query",
        "ask models for their outputs (a rule's step)",
    ),
    "synthesise": (
        "whatelse.membership.synthesise",
        "make records for shadow models (a rule's step)",
    ),
    "import": ("whatelse.models.external", "take in a user's outputs (a rule's step)"),
    "attack": ("whatelse.attacks", "run an attack on outputs (a rule's step)"),
    "figure": ("whatelse.figures.command", "draw a figure (a rule's step)"),
    "claims": (
        "whatelse.claims.command",
        "hold results against papers (a rule's step)",
    ),
    "track": ("whatelse.tracking.command", "mirror results into MLflow"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; those of the process if left out.

    Returns
    -------
    int
        0, 1 after `detect` if a file looks tampered with, 2 after bad input; bugs
        raise.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="whatelse", description=whatelse.__doc__, allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=whatelse.__version__)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, (_, help_text) in VERBS.items():
        verbs.add_parser(name, help=help_text, add_help=False)
    # Only the first word is parsed here: the verb's module brings the rest.
    chosen = parser.parse_known_args(arguments[:1])[0].verb
    args = argparse.Namespace()
    try:
        module = importlib.import_module(VERBS[chosen][0])
        own = argparse.ArgumentParser(
            prog=f"whatelse {chosen}", description=module.__doc__, allow_abbrev=False
        )
        module.add_arguments(own)
        own.parse_args(arguments[1:], args)
        code: int | None = module.run(args)
        return code or 0
    except UserError as error:
        line = " ".join(str(error).split())
        print(f"error: {line}", file=sys.stderr)
        if place := os.environ.get(ERRORS):
            import json  # not at every start

            said = json.dumps([str(getattr(args, "out", "")), line])
            with open(place, "a", encoding="utf-8") as file:
                file.write(said + "\n")
        return 2


def entry() -> None:
    """Run the console script."""
    raise SystemExit(main())
