"""When jobs would run: how long a study takes, in how many submissions."""

import heapq
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from whatelse.errors import UserError


@dataclass(frozen=True)
class Task:
    """A job, or jobs that are submitted together.

    Attributes
    ----------
    name : str
        The artefact's folder.
    seconds : float
        From its start to its end.
    needs : tuple of str
        Tasks that end before it starts; others than those at hand are done already.
    holds : dict of str to float
        Cores and other resources that it holds meanwhile.
    group : str
        The profile's group, empty for none.
    local : bool
        Whether it is never submitted.
    """

    name: str
    seconds: float
    needs: tuple[str, ...] = ()
    holds: Mapping[str, float] = field(default_factory=dict)
    group: str = ""
    local: bool = False


def makespan(tasks: Sequence[Task], limits: Mapping[str, float]) -> float:
    """Return the seconds until all tasks are done.

    Each starts as soon as what it needs is done and its resources are free, those that
    were named first first. A task that asks for more than there is runs alone, as
    Snakemake lowers threads to the cores at hand.

    Raises
    ------
    UserError
        If tasks wait for each other.
    """
    known = {task.name for task in tasks}
    waiting = {task.name: len(set(task.needs) & known) for task in tasks}
    users: dict[str, list[Task]] = defaultdict(list)
    for task in tasks:
        for name in set(task.needs) & known:
            users[name].append(task)
    # Tasks that hold the same are alike: only the first of each kind is looked at.
    ready: dict[tuple[tuple[str, float], ...], deque[Task]] = defaultdict(deque)

    def held(task: Task) -> tuple[tuple[str, float], ...]:
        return tuple(
            (name, min(task.holds.get(name, 0.0), most))
            for name, most in sorted(limits.items())
        )

    for task in tasks:
        if not waiting[task.name]:
            ready[held(task)].append(task)
    free = dict(limits)
    running: list[tuple[float, int, Task]] = []
    now, started, done = 0.0, 0, 0
    while done < len(tasks):
        for amounts, queue in ready.items():
            while queue and all(free[name] >= amount for name, amount in amounts):
                task = queue.popleft()
                for name, amount in amounts:
                    free[name] -= amount
                started += 1
                heapq.heappush(running, (now + task.seconds, started, task))
        if not running:
            raise UserError("groups of the profile: they wait for each other")
        now, _, task = heapq.heappop(running)
        done += 1
        for name, amount in held(task):
            free[name] += amount
        for user in users[task.name]:
            waiting[user.name] -= 1
            if not waiting[user.name]:
                ready[held(user)].append(user)
    return now


def submissions(
    tasks: Sequence[Task], components: Mapping[str, int]
) -> list[list[Task]]:
    """Return which tasks a scheduler gets together, as Snakemake groups them.

    Jobs of one group that are connected make one submission, and so do as many such
    parts as ``group-components`` names; every other job is one of its own.

    Parameters
    ----------
    tasks : sequence of Task
        Local ones are left out.
    components : mapping of str to int
        Parts that a group's submission takes.
    """
    parts: dict[str, str] = {}
    own = {task.name: task for task in tasks if not task.local}

    def root(name: str) -> str:
        while parts.setdefault(name, name) != name:
            parts[name] = name = parts[parts[name]]
        return name

    for task in own.values():
        for need in task.needs:
            if task.group and need in own and own[need].group == task.group:
                parts[root(need)] = root(task.name)
    together: dict[str, dict[str, list[Task]]] = defaultdict(dict)
    found = []
    for task in own.values():
        if task.group:
            together[task.group].setdefault(root(task.name), []).append(task)
        else:
            found.append([task])
    for group, connected in together.items():
        pieces, size = list(connected.values()), components.get(group, 1)
        for first in range(0, len(pieces), size):
            found.append([t for piece in pieces[first : first + size] for t in piece])
    return found


def merged(
    bundles: Sequence[Sequence[Task]], limits: Mapping[str, float], *, start: float
) -> list[Task]:
    """Return submissions as tasks.

    Within one, jobs run side by side as far as the limits allow; before them stands
    the start of the Snakemake that runs them.
    """
    bundle_of = {
        task.name: str(number) for number, own in enumerate(bundles) for task in own
    }
    return [
        Task(
            str(number),
            start + makespan(own, limits),
            tuple(
                sorted(
                    {bundle_of.get(need, need) for task in own for need in task.needs}
                    - {str(number)}
                )
            ),
            {"jobs": 1.0},
        )
        for number, own in enumerate(bundles)
    ]
