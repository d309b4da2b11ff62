"""``whatelse scrub``: write a copy of a model's file without what it may carry.

Scrubs are those of ``memorization.scrub`` but for fine-tuning, which needs data.
"""

import argparse
from pathlib import Path

from whatelse.arguments import json_argument
from whatelse.errors import UserError
from whatelse.memorization.model_file import floats_of
from whatelse.memorization.scrub import apply
from whatelse.memorization.scrub_settings import FileScrub
from whatelse.seeding import stream
from whatelse.training.blocks import load_tensors, save_tensors


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("model", type=Path, metavar="MODEL.safetensors")
    parser.add_argument(
        "--with", dest="scrubs", type=json_argument(FileScrub, "--with"),
        action="append", required=True, metavar="JSON",
        help='{"kind": "zero-bits", "bits": 16} or "random-bits"; {"kind": "round", '
        '"to": "bf16"}, "fp16" or "int8"; {"kind": "prune", "share": 0.5}; {"kind": '
        '"noise", "scale": 0.1}, in standard deviations of each tensor; {"kind": '
        '"clip", "percentile": 99}; several are done in order',
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument("--seed", type=int, default=0, help="of scrubs that draw")


def run(args: argparse.Namespace) -> None:
    """Write the scrubbed copy."""
    if args.out.resolve() == args.model.resolve():
        raise UserError(f"--out: {args.out} is the model; allowed: another file")
    if args.seed < 0:
        raise UserError(f"--seed: {args.seed}; allowed: 0 or more")
    whole = load_tensors(args.model)
    floats = floats_of(args.model, whole)
    for number, scrub in enumerate(args.scrubs):
        floats = apply(scrub, floats, stream(args.seed, "scrub", number))
    save_tensors(args.out, {**whole, **floats})
    print(f"{args.out}: {', then '.join(scrub.words for scrub in args.scrubs)}")
