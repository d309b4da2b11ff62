"""Main and backdoor accuracy round by round, and what a server could have seen (P4)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from whatelse.backdoors.convergence import benign_accuracy, not_converged
from whatelse.backdoors.kept import DRAWN_OF, DRAWN_SURE, GIVEN, OWN_DRAWN_SURE
from whatelse.datasets.store import open_dataset
from whatelse.errors import UserError
from whatelse.findings import AttackSpec, Findings, Inputs, replicates_of
from whatelse.measures.controls import Control, control_of
from whatelse.measures.rates import rate
from whatelse.models.outputs import about_dataset
from whatelse.records import RECORD, read_json
from whatelse.seeding import stream
from whatelse.training import observations as names
from whatelse.training.joint import about_joint, summary_of
from whatelse.training.observations import OBSERVATIONS, load_observations

Seen = dict[str, NDArray[Any]]


class _Attacked:
    """What was observed of a joint model, row r of models being that before round r.

    Attributes
    ----------
    seen : dict of str to ndarray
        Observations.
    adversary : dict
        Who attacked, and how.
    classes : ndarray of object
        Their names.
    first : int
        The first round of the attack.
    target : int
        The number of the class that the attackers want.
    held : ndarray of bool, shape (models, held-out records)
        Which records of the backdoor get the label that the attackers want.
    hostile : ndarray of bool, shape (rounds, selected)
        Which changes were malicious.
    """

    def __init__(
        self, folder: Path, adversary: dict[str, Any], classes: Sequence[str]
    ) -> None:  # fmt: skip
        self.seen, self.adversary = _seen(folder), adversary
        self.classes = np.array(classes, dtype=object)
        self.first = int(self.seen[names.ATTACK].argmax())
        self.target = list(classes).index(adversary["target"])
        self.held: NDArray[np.bool_] = self.seen[names.TOLD] == self.target
        self.hostile: NDArray[np.bool_] = (
            self.seen[names.CHOSEN] < adversary["attackers"]
        ) & self.seen[names.ATTACK][:, None].astype(bool)


def find(spec: AttackSpec, inputs: Inputs) -> Findings:
    """Measure each joint model of a study.

    Raises
    ------
    UserError
        If a joint model was never attacked.
    """
    dataset = open_dataset(inputs["data"][0])
    classes = [str(name) for name in dataset.info["class_names"]]
    reports, scores, curves = [], [], []
    joint = about_joint(inputs)
    for number, (folder,) in enumerate(replicates_of(inputs, "observations")):
        of_model, adversary = joint[number]
        attacked = _Attacked(folder, adversary, classes)
        rng = stream(spec.seed, "control", number)
        lineage = [folder, *inputs.get(f"before.{number}", ())]
        reports.append(
            {
                "replicate": number,
                **of_model,
                **_report(attacked, rng),
                "warning": _warning(attacked, lineage),
            }
        )
        scores.append(_answers(attacked, dataset.labels, number))
        curves.append(_rounds(attacked, number))
    columns = {
        name: [report["attack"][name] for report in reports]
        for name in reports[0]["attack"]
        if not isinstance(reports[0]["attack"][name], dict)
    }
    about_data = about_dataset(dataset.info["name"], dataset.info)
    warnings = dict.fromkeys(r["warning"] for r in reports if r["warning"])
    about_data["remarks"] = [*(about_data.get("remarks") or ()), *warnings]
    return Findings(
        about_data,
        {"replicates": reports, "summary": summary_of(reports, columns)},
        pd.concat(scores, ignore_index=True),
        pd.concat(curves, ignore_index=True),
    )


def _seen(folder: Path) -> Seen:
    seen = load_observations(folder)
    if names.ATTACK not in seen or not seen[names.ATTACK].any():
        raise UserError(
            f"{folder / OBSERVATIONS}: no round of an attack; allowed: a joint model "
            "with an adversary of kind backdoor that was selected"
        )
    return seen


def _report(attacked: _Attacked, rng: np.random.Generator) -> dict[str, Any]:
    seen, first, held = attacked.seen, attacked.first, attacked.held
    main, backdoor = seen[names.MAIN], held.mean(1)
    after = backdoor[first + 1 :]
    # who attacks whenever selected has as many rounds with it as without (P4 Fig. 4b)
    counted = slice(1 if attacked.adversary["by_lot"] else first + 1, None)
    taken = seen[names.SHARES] * seen[names.SHARES].shape[1]
    count = held.shape[1]
    attack: dict[str, Any] = {
        "first_round": first,
        "before": rate(int(held[first].sum()), count),
        "after": rate(int(held[first + 1].sum()), count),
        "backdoor_before": float(backdoor[first]),
        "backdoor_after": float(after[0]),
        "backdoor_lowest": float(after.min()),
        "backdoor_final": float(after[-1]),
        "backdoor_mean": float(backdoor[counted].mean()),
        "own_backdoor": float((seen[names.OWN_TOLD][0] == attacked.target).mean()),
        "own_main": float(seen[names.OWN_MAIN][0]),
        "main_before": float(main[first]),
        "main_after": float(main[first + 1]),
        "main_final": float(main[-1]),
        "main_change": float(main[first + 1] - main[first]),
        "rounds_kept": _kept(after),
        "norm_ratio": _ratio(attacked),
        "taken": float(taken[attacked.hostile].mean()),
    }
    if names.DRAWN in seen:
        drawn = seen[names.DRAWN]
        attack |= {
            "drawn_before": float(drawn[first]),
            "drawn_after": float(drawn[first + 1]),
            "drawn_lowest": float(drawn[first + 1 :].min()),
            "drawn_final": float(drawn[-1]),
            "drawn_mean": float(drawn[counted].mean()),
        }
    if names.SPILL in seen:
        spill = seen[names.SPILL]
        attack |= {
            "spill_before": float(spill[first]),
            "spill_after": float(spill[first + 1]),
        }
    return {
        "backdoor": attacked.adversary,
        "attack": attack,
        "controls": _controls(seen, first, rng),
    }


def _kept(after: NDArray[np.float64]) -> int:
    """Return how many rounds at least half is there, from when it first is."""
    if not (after >= 0.5).any():
        return 0
    since = after[int((after >= 0.5).argmax()) :]
    lost = np.flatnonzero(since < 0.5)
    return int(lost[0]) if len(lost) else len(since)


def _warning(attacked: _Attacked, lineage: Sequence[Path]) -> str | None:
    """Say why little can be seen where the model had not converged (P4's trap).

    `lineage` are the folder of the joint model and of those that it goes back to.
    """
    before = [load_observations(folder) for folder in lineage[1:]]
    main = benign_accuracy(attacked.seen, before)
    # of the first, which had to learn: what goes on from it has only to keep that
    protocol = read_json(lineage[-1] / RECORD)["spec"]["protocol"]
    return not_converged(
        main,
        majority=attacked.adversary["majority"],
        tested=attacked.seen[names.USUAL_SURE].shape[1],
        server_rate=protocol.get("server_rate", 1.0),
    )


def _ratio(attacked: _Attacked) -> float | None:
    """Return how much longer malicious changes are than benign ones, by medians.

    None where no round of the attack has a benign change.
    """
    hostile, norms = attacked.hostile, attacked.seen[names.NORMS]
    rounds = hostile.any(1)
    benign = norms[rounds][~hostile[rounds]]
    return float(np.median(norms[hostile]) / np.median(benign)) if len(benign) else None


def _controls(
    seen: Seen, first: int, rng: np.random.Generator
) -> dict[str, Control]:  # fmt: skip
    """Ask what is known: the attackers' own model, and records without a backdoor.

    The former is asked about images shifted and mirrored by lot where these are more.
    P4's groups have 4 to 10 held-out images: even a perfect order of k of them has a
    lower end of .025 ** (1 / k), above .75 from 13 on, so that an interval over images,
    or over draws clustered by image, tells nothing whatever the model says. Given the
    images, draws are independent, and all numbers of a replicate are of these images:
    how others do is told by the replicates, which hold out others. Both models are
    asked about the same draws: what their answers have in common makes the interval
    wider than it need be. Signs of the difference, draw by draw, would be found too
    easily: a model that has learned nothing may be a little surer throughout.
    """
    own, before = seen[names.OWN_SURE][0], seen[names.SURE][first]
    about = f"{len(own)} held-out records"
    if DRAWN_SURE in seen and seen[DRAWN_SURE].shape[1] > len(own):
        about = f"{seen[DRAWN_SURE].shape[1]} draws of {about}"
        own, before = seen[OWN_DRAWN_SURE][0], seen[DRAWN_SURE][first]
    usual = seen[names.USUAL_SURE][0]
    lot = rng.permutation(len(usual)) < len(usual) // 2
    both, theirs = np.concatenate([own, before]), np.arange(2 * len(own)) < len(own)
    return {
        "positive": control_of(
            f"the attackers' own model against the joint one before, by {about}",
            both, theirs,
        ),
        "negative": control_of(
            "records without a backdoor, by lot in the place of the backdoor's",
            usual, lot,
        ),
    }  # fmt: skip


def _answers(
    attacked: _Attacked, labels: NDArray[Any], number: int
) -> pd.DataFrame:  # fmt: skip
    """Return what is said of each held-out record of the backdoor, before and after.

    Of its draws, the mean probability of the target. `true` is the data set's class.
    """
    seen, first, said = attacked.seen, attacked.first, attacked.classes
    records = seen[names.RECORDS]
    true = said[np.asarray(labels)[records]]
    rows: dict[str, Any] = {"replicate": number, "record": records, "true": true}
    for when, model in (("before", first), ("after", first + 1), ("final", -1)):
        rows[when] = said[seen[names.TOLD][model]]
        rows[f"sure_{when}"] = seen[names.SURE][model]
        if DRAWN_SURE in seen:
            rows[f"drawn_sure_{when}"] = _of_each(seen, model)
    given = seen.get(GIVEN)
    if given is not None and given.shape[1] in (1, 3):
        shown = given.astype(np.float64)
        shown -= min(shown.min(), 0.0)  # black is 0, or the least below it
        grey = np.rint(shown * (255 / max(shown.max(), 1e-9))).astype(np.uint8)
        rows["shape"] = ",".join(map(str, given.shape[1:]))
        rows["picture"] = [image.tobytes() for image in grey]
    return pd.DataFrame(rows)


def _of_each(seen: Seen, model: int) -> NDArray[np.float64]:
    """Return how sure a model is of the target for the draws of each record.

    NaN where a record was never drawn.
    """
    sure, of = seen[DRAWN_SURE][model], seen[DRAWN_OF]
    count = np.bincount(of, minlength=len(seen[names.RECORDS]))
    total = np.bincount(of, sure, minlength=len(count))
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)


def _rounds(attacked: _Attacked, number: int) -> pd.DataFrame:
    """Return a row for every model, and one for every change that was sent."""
    seen = attacked.seen
    models = pd.DataFrame(
        {
            "replicate": number,
            "what": "model",
            "round": np.arange(len(seen[names.MAIN])),
            "main": seen[names.MAIN],
            "backdoor": attacked.held.mean(1),
        }
    )
    models["attacked"] = np.append(False, seen[names.ATTACK].astype(bool))
    if names.DRAWN in seen:
        models["drawn"] = seen[names.DRAWN]
    rounds, selected = seen[names.CHOSEN].shape
    sent = pd.DataFrame(
        {
            "replicate": number,
            "what": "change",
            "round": np.repeat(np.arange(1, rounds + 1), selected),
            "participant": seen[names.CHOSEN].ravel(),
            "norm": seen[names.NORMS].ravel(),
            "cosine": seen[names.COSINES].ravel(),
            "share": seen[names.SHARES].ravel(),
            "malicious": attacked.hostile.ravel(),
        }
    )
    return pd.concat([models, sent], ignore_index=True)
