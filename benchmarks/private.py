"""How long a step of DP-SGD takes: perceptrons of digits, a stack of them, one thread.

Beside the same step without privacy: gradients of records as products (what is done),
made by ``torch.func`` (what other nets need), and by Opacus, one model after the other.
Seconds are of the processor, so that other jobs on it matter less.
"""

import argparse
import os
import time
from collections.abc import Callable

# before anything imports NumPy: one thread, as a job has
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import Tensor
from torch.nn import functional

from whatelse.models.features import module_of
from whatelse.models.settings import Mlp
from whatelse.models.stacked import build, initial
from whatelse.seeding import stream
from whatelse.training.ensemble import TrainingData
from whatelse.training.private import Mechanism, PrivateStack
from whatelse.training.settings import CentralTraining

RECORDS, BATCH, CLIP = 2000, 256, 1.0


class Case:
    """Some models, and the batches that all ways of a step are given."""

    def __init__(self, models: int, hidden: int) -> None:
        rng = np.random.default_rng(0)
        inputs = torch.tensor(rng.normal(size=(RECORDS, 64)), dtype=torch.float32)
        self.data = TrainingData(inputs, torch.arange(RECORDS) % 10)
        self.architecture = build(Mlp(kind="mlp", hidden=(hidden,)), (64,), 10)
        self.settings = CentralTraining.model_validate(
            {
                "optimizer": {"kind": "adam"}, "epochs": 1, "batch_size": BATCH,
                "privacy": {"clip": CLIP, "noise": 1.0},
            }
        )  # fmt: skip
        self.starts = [initial(self.architecture, stream(1, i)) for i in range(models)]
        drawn = [rng.permutation(RECORDS)[:BATCH] for _ in range(models)]
        self.index = torch.from_numpy(np.stack(drawn))
        self.mechanism = Mechanism(CLIP, 1.0, BATCH / RECORDS, 1, float(BATCH), 1e-5)

    def stack(self) -> PrivateStack:
        """Return the models at their start."""
        return PrivateStack(self.architecture, self.settings, self.data, self.starts)


def plain(case: Case) -> Callable[[], object]:
    """Return a step without privacy."""
    stack, shares = case.stack(), torch.full(case.index.shape, 1 / BATCH)
    active = range(len(case.starts))
    return lambda: stack.step(case.index, shares, full=True, active=active, rate=0.01)


def products(case: Case) -> Callable[[], object]:
    """Return a step as it is trained."""
    stack, taken = case.stack(), torch.ones(case.index.shape)
    noise = torch.randn(stack.rows_SP.shape, generator=torch.Generator())
    parts = [(case.index, taken)]
    return lambda: stack.step_privately(parts, case.mechanism, noise, 0.01)


def made(case: Case) -> Callable[[], object]:
    """Return a step as nets that are no perceptrons are trained."""
    stack, taken = case.stack(), torch.ones(case.index.shape)
    noise = torch.randn(stack.rows_SP.shape, generator=torch.Generator())
    inputs, labels = case.data.gather(case.index), case.data.labels[case.index]
    assert isinstance(inputs, Tensor)

    def step() -> None:
        stack.gradients_SP.zero_()
        stack._add_by_record(inputs, labels, taken, CLIP)
        stack.gradients_SP.add_(noise).div_(BATCH)
        stack.update(range(len(case.starts)), 0.01)

    return step


def by_opacus(case: Case) -> Callable[[], object]:
    """Return a step of Opacus, model by model."""
    pairs = []
    for start in case.starts:
        module = GradSampleModule(module_of(case.architecture, start))
        optimizer = DPOptimizer(
            torch.optim.Adam(module.parameters(), 0.01, fused=True),
            noise_multiplier=1.0, max_grad_norm=CLIP, expected_batch_size=BATCH,
        )  # fmt: skip
        pairs.append((module, optimizer))

    def step() -> None:
        for (module, optimizer), rows in zip(pairs, case.index, strict=True):
            optimizer.zero_grad()
            inputs, labels = case.data.inputs[rows], case.data.labels[rows]
            functional.cross_entropy(module(inputs), labels).backward()
            optimizer.step()

    return step


WAYS = {
    "without privacy": plain,
    "gradients as products": products,
    "gradients by torch.func": made,
    "Opacus, one model after the other": by_opacus,
}


def measured(step: Callable[[], object], rounds: int) -> float:
    """Return the processor's seconds of a step, the least of some."""
    step()
    found = []
    for _ in range(rounds):
        start = time.process_time()
        step()
        found.append(time.process_time() - start)
    return min(found)


def main() -> None:
    """Print the seconds of every way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    torch.set_num_threads(1)
    case = Case(args.models, args.hidden)
    for name, way in WAYS.items():
        seconds = measured(way(case), args.rounds)
        print(f"{name:34} {1e3 * seconds:7.1f} ms a step of {args.models} models")


if __name__ == "__main__":
    main()
