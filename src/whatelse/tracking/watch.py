"""Mirror results and progress into MLflow while the jobs run.

One process on the submitting host reads the results folder again and again. It holds
nothing that matters: killed and started again, it finds by their tags the runs that it
made. Whatever goes wrong with the tracking server is told once and tried again.
"""

import contextlib
import os
import platform
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from whatelse import records
from whatelse.errors import UserError
from whatelse.studies.resolve import Resolved, load_study
from whatelse.tracking.disk import Disk
from whatelse.tracking.reader import read_tree
from whatelse.tracking.store import (
    Away,
    Busy,
    Place,
    connect,
    locked,
    told,
    unchanged,
)
from whatelse.tracking.tree import Tree

RUNNING = "running.json"
_SECONDS_TO_HOLD = 20.0  # the lock: other trackers wait as long
_SECONDS_TO_YIELD = 1.0  # between two such spells
_SECONDS_AT_THE_END = 10.0  # to wait for another tracker before the last pass


@contextlib.contextmanager
def announced(
    results: str | Path, studies: Sequence[str | Path], replicates: int | None
) -> Iterator[None]:
    """Say which studies are being made, for whoever watches the results.

    Bad input inside takes it back: nothing is left of what cannot be made.

    Parameters
    ----------
    results : str or Path
        The results folder.
    studies : sequence of str or Path
        The study files, as they were given.
    replicates : int or None
        At most so many replicates of every entry.
    """
    content = {
        "studies": [str(path) for path in studies],
        "replicates": replicates,
        "host": platform.node(),  # for `whatelse unlock`
    }
    path = Path(results) / RUNNING
    earlier = records.read_json(path) if path.exists() else None
    if earlier != content:
        records.write_json(path, content)
    try:
        yield
    except UserError:
        if earlier is None:
            path.unlink()
        elif earlier != content:
            records.write_json(path, earlier)
        raise


@dataclass
class _Study:
    """What is known to be in MLflow of a study."""

    resolved: Resolved | None = None
    logged: dict[str, str] = field(default_factory=dict)  # version of a child by key
    state: str | None = None  # of the tree, once all of it was logged
    said: str = ""

    def forget(self) -> None:
        """Know nothing: all is looked up again."""
        self.logged, self.state = {}, None


class Watch:
    """Mirrors studies, pass by pass.

    Parameters
    ----------
    results : Path
        The results folder; it may be empty, or missing yet.
    place : Place
        Where to track.
    studies : sequence of Path, optional
        Study files. If there are none: those that `announced` named last.
    replicates : int, optional
        At most so many replicates of every entry. If left out: as announced.
    """

    def __init__(
        self, results: Path, place: Place, *, studies: Sequence[Path] = (),
        replicates: int | None = None,
    ) -> None:  # fmt: skip
        self.results, self.place = results, place
        self.studies, self.replicates = tuple(studies), replicates
        self.disk = Disk()
        self._known: dict[tuple[Path, int | None], _Study] = {}
        self._trouble: dict[str, str] = {}  # what was said last of a study
        self._away = False
        self.done = False
        """Whether every study is recorded whole and mirrored."""
        self.behind = False
        """Whether the last pass ended before it was through."""

    def go_through(self, *, patience: float = 0.0) -> None:
        """Look at every study once and log what is new; nothing is raised.

        Parameters
        ----------
        patience : float, optional
            Seconds to wait for another tracker.
        """
        self.behind = False
        was_away = self._away
        done = []
        try:
            asked = self._asked()
            self._trouble.pop(RUNNING, None)
        except Exception as error:
            self._complain(RUNNING, error)
            asked = []
        for path, replicates in asked:
            study = self._known.setdefault((path, replicates), _Study())
            try:
                done.append(self._mirror(study, path, replicates, patience))
                self._trouble.pop(str(path), None)
            except Busy:
                done.append(False)
            except Away as away:
                done.append(False)
                self._miss(away)
            except Exception as error:
                # A watcher outlives what it watches: a server that is down, a folder
                # that Snakemake empties just now, a study file that is being edited.
                done.append(False)
                self._complain(str(path), error)
        self.done = bool(done) and all(done)
        if was_away and not self._away:
            print(f"MLflow: {self.place.shown} is back", flush=True)
            # perhaps with less than it had
            for study in self._known.values():
                study.forget()
            self.done, self.behind = False, True

    def _asked(self) -> list[tuple[Path, int | None]]:
        """Return the studies and their limits of replicates."""
        if self.studies:
            return [(path, self.replicates) for path in self.studies]
        running = self.results / RUNNING
        if not running.is_file():
            raise UserError(f"{running}: no such file yet; `whatelse run` writes it")
        found = records.read_json(running)
        limit = self.replicates if self.replicates is not None else found["replicates"]
        return [(Path(path), limit) for path in found["studies"]]

    def _mirror(
        self, study: _Study, path: Path, replicates: int | None, patience: float
    ) -> bool:
        """Log what is new of a study; return whether all of it is there."""
        resolved = self._resolved(path, replicates)
        if resolved is not study.resolved:
            study.resolved = resolved
            study.forget()
        tree = read_tree(resolved, self.results, self.disk)
        # curves of models in work first: a backlog may be long
        children = [*tree.live, *tree.children]
        pending = [c for c in children if study.logged.get(c.key) != c.version]
        if not children or (not pending and study.state == tree.state):
            return bool(children) and not tree.num_missing
        if not study.logged and not tree.live and unchanged(self.place, tree, None):
            logged = pending
        else:
            with locked(self.place, seconds=patience):
                client = connect(self.place)

                from whatelse.tracking.mirror import Mirror

                with told(self.place):
                    logged = Mirror(client, self.place, tree).follow(
                        pending, whole=study.state is None, seconds=_SECONDS_TO_HOLD
                    )
            self._away = False
        study.logged |= {child.key: child.version for child in logged}
        if len(logged) < len(pending):
            self.behind = True
            return False
        study.state = tree.state
        self._tell(study, tree)
        return not tree.num_missing

    def _resolved(self, path: Path, replicates: int | None) -> Resolved:
        try:
            found = os.stat(path)
        except FileNotFoundError:
            raise UserError(
                f"{path}: no such file; allowed: to watch from the folder in which the "
                "run was started, or to name the study files"
            ) from None
        return self.disk.keep(
            ("study", path, replicates),
            (found.st_mtime_ns, found.st_size),
            lambda: load_study(path, self.results, replicates=replicates),
        )

    def _tell(self, study: _Study, tree: Tree) -> None:
        """Print how far a study is, if that changed."""
        count = len(tree.keys) + len(tree.attached)
        line = f"MLflow: {tree.study}: {count - tree.num_missing} of {count} results"
        if tree.live:
            line += f", {len(tree.live)} in training"
        if line != study.said:
            print(f"{line} ({self.place.shown})", flush=True)
            study.said = line

    def _miss(self, away: Away) -> None:
        """Say that the server is away, once."""
        if not self._away:
            print(f"warning: {away}; trying again", file=sys.stderr, flush=True)
        self._away = True

    def _complain(self, who: str, error: Exception) -> None:
        """Print what is wrong, once."""
        known = isinstance(error, UserError)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        line = " ".join(reason.split())
        before = self._trouble.get(who)
        # What is read while a job writes it is whole the next time.
        if before is None and who != RUNNING:
            self._trouble[who] = ""
        elif before != line:
            print(f"warning: {line}", file=sys.stderr, flush=True)
            self._trouble[who] = line


def watch(mirror: Watch, *, every: float, until_done: bool) -> None:
    """Mirror until SIGTERM or SIGINT comes, with one last pass then.

    Parameters
    ----------
    mirror : Watch
        What to do.
    every : float
        Seconds between two passes.
    until_done : bool
        End as well when everything is recorded and mirrored.
    """
    stop = threading.Event()

    def end(number: int, frame: object) -> None:
        stop.set()
        for again in before:
            signal.signal(again, signal.SIG_DFL)  # the second one kills

    before = {
        number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        while not stop.is_set():
            mirror.go_through()
            if until_done and mirror.done:
                return
            stop.wait(_SECONDS_TO_YIELD if mirror.behind else every)
        mirror.go_through(patience=_SECONDS_AT_THE_END)
        if mirror.behind:
            mirror.go_through(patience=_SECONDS_AT_THE_END)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
