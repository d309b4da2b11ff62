"""What a study looks like in MLflow.

A parent run stands for the study; below it, one run for each target, one for the
shadows of each target, and one for each attack. Models that are being trained have
their runs already, with the losses so far. Nothing here imports MLflow.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

LAYOUT = 1  # of the runs below; another number mirrors the parent anew
IDENTITY = "whatelse.identity"  # of models: what they are trained from
_HEADLINES = {
    "membership": (
        "attack/auc",
        "attack/precision",
        "attack/recall",
        "attack/accuracy",
        "target/train_accuracy",
        "target/test_accuracy",
    ),
    "memorization": (
        "attack/mape",
        "attack/ssim",
        "attack/bit_error_rate",
        "attack/token_recall",
        "attack/detected",
        "attack/accuracy_change",
        "target/test_accuracy",
    ),
    "properties": (
        "attack/auc",
        "attack/property_probe",
        "attack/attribute_accuracy",
        "attack/task_correlation",
        "target/train_accuracy",
        "target/test_accuracy",
    ),
    "backdoors": (
        "attack/backdoor_after",
        "attack/backdoor_before",
        "attack/backdoor_mean",
        "attack/main_change",
        "target/test_accuracy",
    ),
}
_ROWS_IN_NOTE = 40  # a tag holds 8,000 characters


@dataclass(frozen=True)
class Point:
    """One value of a metric."""

    name: str
    value: float
    step: int = 0


@dataclass(frozen=True)
class Content:
    """What is logged once in a run's life.

    Attributes
    ----------
    params : dict of str to str
        Resolved settings, flattened.
    points : list of Point
        Metrics and curves.
    files : list of (Path, str)
        Files to attach, and the folder of the run's artefacts that takes them.
    note : str
        The description, in Markdown.
    whole : bool
        Whether nothing more will come; if not, the run stays open.
    """

    params: dict[str, str]
    points: list[Point]
    files: list[tuple[Path, str]] = field(default_factory=list)
    note: str = ""
    whole: bool = True


@dataclass(frozen=True)
class DataUsed:
    """The data set of a run: name (a stand-in says so), digest, rows, title, folder."""

    name: str
    digest: str
    records: int
    title: str
    folder: str


@dataclass(frozen=True)
class Child:
    """A run below the study's.

    Attributes
    ----------
    key, record : str
        Which folder below the results, and the digest of what lies there: together
        they say which run it is. No record while models are being trained: then it is
        the run of this key that has the same tag `IDENTITY`.
    name : str
        Shown in the list of runs.
    tags : dict of str to str
        Rule, place, commit, data: kept up to date in a finished run as well.
    data : DataUsed or None
        None if the data set's folder is gone.
    start, end : int
        Milliseconds since 1970.
    read : callable
        Returns the content; called only if the run is not complete in MLflow.
    version : str
        Differs if the run has to be looked at again.
    """

    key: str
    record: str
    name: str
    tags: dict[str, str]
    data: DataUsed | None
    start: int
    end: int
    read: Callable[[], Content]
    version: str


@dataclass(frozen=True)
class Attachment:
    """Files of the parent run: a figure, or the claims."""

    name: str
    record: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Tree:
    """A study's runs, as they should be.

    Attributes
    ----------
    study, question, title, description : str
        From the study file.
    children : list of Child
        Targets, shadows, attacks; those whose folders have records.
    live : list of Child
        Targets and shadows that are being trained.
    keys : set of str
        Of all children that the study has, recorded or not.
    attachments : list of Attachment
        Recorded figures and claims.
    attached : set of str
        Names of all attachments that the study has, recorded or not.
    verdicts : dict of str to int or None
        How many claims had which verdict; None before they are judged.
    variables : list of str
        Of the attacks' grids.
    num_missing : int
        Children and attachments that have no record yet.
    state : str
        One digest over all of it but `live`.
    """

    study: str
    question: str
    title: str
    description: str
    children: list[Child]
    live: list[Child]
    keys: set[str]
    attachments: list[Attachment]
    attached: set[str]
    verdicts: dict[str, int] | None
    variables: list[str]
    num_missing: int
    state: str

    @property
    def headlines(self) -> tuple[str, ...]:
        """What tables of attacks show, in this order."""
        return _HEADLINES[self.question]

    def note(self) -> str:
        """Return the parent's description: what it is, results, where to look."""
        rows = []
        for child in self.children:
            if child.tags["whatelse.role"] != "attack":
                continue
            mean = {point.name: point.value for point in child.read().points}
            cells = [f"{mean[m]:.3f}" if m in mean else "" for m in self.headlines]
            where = child.data.name if child.data else ""
            rows.append(f"| {' | '.join([child.name, where, *cells])} |")
        names = [name.rpartition("/")[2].replace("_", " ") for name in self.headlines]
        heads = ["attack", "data", *names]
        lines: list[str] = []
        if rows:
            rule = "|---|---|" + "--:|" * len(self.headlines)
            lines += [f"| {' | '.join(heads)} |", rule, *rows[:_ROWS_IN_NOTE]]
            if len(rows) > _ROWS_IN_NOTE:
                lines.append(f"\n... and {len(rows) - _ROWS_IN_NOTE} more attacks.")
            lines += [
                "",
                "Means over replicates; train and test accuracy are the target's, the "
                "rest is the attack's.",
                "",
            ]
        if self.verdicts is not None:
            counts = ", ".join(f"{n} {name}" for name, n in self.verdicts.items() if n)
            lines += [f"**Claims**: {counts or 'none'}.", ""]
        if self.num_missing:
            count = len(self.keys) + len(self.attached)
            done = count - self.num_missing
            lines += [f"**In work**: {done} of {count} results are there.", ""]
        lines += [
            f"**{self.title}.** {self.description.strip()}",
            "",
            "**Artifacts** of this run hold the figures and the table of claims "
            "(`claims/claims.html`). **Child runs**: `attack` (metrics, ROC), `target` "
            "(settings, loss curve), `shadows` (mean loss curve).",
        ]
        return "\n".join(lines)
