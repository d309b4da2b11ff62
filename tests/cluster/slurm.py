"""A real SLURM on this machine: munge, a controller, and a slurmd for each node.

Everything lies in one folder and listens on loopback; the machine's own SLURM, if there
is one, is not touched. Several slurmd share the host, told apart by name and port.
Memory limits are kept by SLURM's own accounting, not by control groups.
"""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

TOOLS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")
_SBIN = "/usr/sbin:/sbin"
_CONTROLLER = "controller"
STEADY = Path(__file__).parent / "steady"
"""On PYTHONPATH, Snakemake asks SLURM at a steady interval."""


class Slurm:
    """A cluster of four nodes in three partitions.

    ``cpu1`` and ``cpu2`` make the partition ``cpu``; ``gpu1`` and ``gpu2``, each with
    a GPU that is a dummy file, make ``gpu``. ``urgent`` lies over ``gpu`` and preempts.

    Parameters
    ----------
    home : Path
        An empty folder for configuration, state and logs.
    """

    nodes: Mapping[str, tuple[str, ...]] = {
        "cpu": ("cpu1", "cpu2"),
        "gpu": ("gpu1", "gpu2"),
    }

    def __init__(self, home: Path) -> None:
        self.home = home
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        conf, path = home / "slurm.conf", f"{home}/bin:{os.environ['PATH']}:{_SBIN}"
        self.environment = {"SLURM_CONF": str(conf), "PATH": path}

    def start(self) -> None:
        """Start all daemons and wait until every node takes jobs."""
        for folder in ("state", "logs", "munge"):
            (self.home / folder).mkdir(parents=True, mode=0o755, exist_ok=True)
        key = self.home / "munge" / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        self._configure()
        self._daemon(
            "munged",
            ["munged", "--foreground", "--force", f"--key-file={key}"]
            + [
                f"--{name}={self.home}/munge/munge.{name.partition('-')[0]}"
                for name in ("socket", "pid-file", "log-file", "seed-file")
            ],
        )
        _wait("munge", (self.home / "munge" / "munge.socket").exists)
        self._daemon(_CONTROLLER, ["slurmctld", "-D", "-i"])
        _wait("slurmctld", lambda: self.call("scontrol", "ping", check=False) != "")
        for node in self._all():
            self.start_node(node)
        self.wait_until_up(*self._all())

    def stop(self) -> None:
        """End jobs and daemons."""
        if _CONTROLLER in self.processes:
            self.call("scancel", "--quiet", f"--user={_user()}", check=False)
            _wait("jobs to end", lambda: not self.jobs(), seconds=20, fatal=False)
        for process in reversed(self.processes.values()):
            _end(process)
        self.processes.clear()

    def start_node(self, node: str) -> None:
        """Start a node's slurmd, again if it was killed."""
        self._daemon(node, ["slurmd", "-D", "-N", node])

    def kill_node(self, node: str) -> None:
        """Let a node go down as if its power were cut: daemon and jobs, at once."""
        process = self.processes.pop(node)
        # Whoever watches over jobs goes first: a dead node reports nothing.
        parents = {_parent(pid) for pid in self._own("SLURMD_NODENAME", node)}
        keepers = [pid for pid in parents if _command(pid).startswith("slurmstepd")]
        for victim in [process.pid, *keepers, *_below(keepers)]:
            _signal(victim, signal.SIGKILL)
        for victim in self._own("SLURMD_NODENAME", node):  # whose parents had gone
            _signal(victim, signal.SIGKILL)
        process.wait()

    def lose_node(self, node: str) -> None:
        """Kill a node, and let the controller know at once instead of by silence."""
        self.kill_node(node)
        self.call(
            "scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=power cut"
        )

    def restart_daemon(self, node: str) -> None:
        """Kill a node's slurmd, not its jobs, and start it again."""
        process = self.processes.pop(node)
        process.kill()
        process.wait()
        self.start_node(node)

    def hurry(self) -> None:
        """Let jobs that were requeued begin now: SLURM would wait for two minutes."""
        for job in self.jobs("PENDING"):
            self.call(
                "scontrol", "update", f"JobId={job}", "StartTime=now", check=False
            )

    def call(self, *words: str, check: bool = True) -> str:
        """Run one of SLURM's commands; return what it printed."""
        done = subprocess.run(
            words, env=self._environment(), capture_output=True, text=True, timeout=60
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def jobs(self, *states: str) -> list[str]:
        """Return the ids of the jobs that wait or run, or are in some states."""
        chosen = states or ("PENDING", "RUNNING", "COMPLETING", "SUSPENDED")
        said = self.call(
            "squeue", "--noheader", "--format=%i", f"--states={','.join(chosen)}",
            check=False,
        )  # fmt: skip
        return said.split()

    def node_of(self, job: str) -> str:
        """Return where a job runs."""
        return self.call("squeue", "--noheader", f"--job={job}", "--format=%N").strip()

    def freeze(self, job: str) -> None:
        """Stop what a job runs, as if it waited for ever."""
        for pid in self._own("SLURM_JOB_ID", job):
            _signal(pid, signal.SIGSTOP)

    def num_submitted(self) -> int:
        """Return how many jobs were ever submitted."""
        text = (self.home / "logs" / "controller.log").read_text(errors="replace")
        return len(re.findall(r"_slurm_rpc_submit_batch_job: JobId=\d+", text))

    def wait_until_up(self, *nodes: str, seconds: float = 60) -> None:
        """Wait until nodes take jobs, whether or not they have been given one."""

        def reached() -> bool:
            said = self.call(
                "sinfo", "--noheader", "-N", "--format=%N %t", check=False
            ).split("\n")
            states = dict(line.split() for line in said if line.strip())
            # a state that ends in "*" is what the node was when it last answered
            return all(states.get(node) in ("idle", "mix", "alloc") for node in nodes)

        _wait(f"{', '.join(nodes)} to be up", reached, seconds=seconds)

    def _own(self, variable: str, value: str) -> list[int]:
        """Return processes of this cluster's jobs with a variable in their environment.

        Other clusters on this machine have jobs and nodes of the same names.
        """
        return [
            pid for pid in _processes()
            if _variable(pid, variable) == value
            and str(self.home) in _variable(pid, "PATH")
        ]  # fmt: skip

    def _all(self) -> list[str]:
        return [node for nodes in self.nodes.values() for node in nodes]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.environment}

    def _daemon(self, name: str, command: list[str]) -> None:
        with open(self.home / "logs" / f"{name}.out", "ab") as output:
            self.processes[name] = subprocess.Popen(
                command, env=self._environment(), stdout=output, stderr=output,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def _configure(self) -> None:
        ports = _free_ports(1 + len(self._all()))
        host = socket.gethostname().partition(".")[0]
        # A node has what the tests need: cores and memory under it are shared.
        common = f"NodeHostname={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000000"
        nodes = "\n".join(
            f"NodeName={node} Port={port} {common}"
            + (" Gres=gpu:1" if node in self.nodes["gpu"] else "")
            for node, port in zip(self._all(), ports[1:], strict=True)
        )
        partitions = "\n".join(
            f"PartitionName={name} Nodes={','.join(nodes)} State=UP MaxTime=1440 "
            f"PriorityTier=1 Default={'YES' if name == 'cpu' else 'NO'}"
            for name, nodes in self.nodes.items()
        )
        (self.home / "slurm.conf").write_text(f"""\
ClusterName=whatelse
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={_user()}
SlurmdUser={_user()}
AuthType=auth/munge
AuthInfo=socket={self.home}/munge/munge.socket
CredType=cred/munge
StateSaveLocation={self.home}/state
SlurmdSpoolDir={self.home}/spool-%n
SlurmctldPidFile={self.home}/slurmctld.pid
SlurmdPidFile={self.home}/slurmd-%n.pid
SlurmctldLogFile={self.home}/logs/controller.log
SlurmdLogFile={self.home}/logs/%n.log
SlurmctldDebug=info
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
GresTypes=gpu
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
JobCompType=jobcomp/none
TaskProlog={self.home}/bin/prolog
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
SlurmdTimeout=8
KillWait=2
MinJobAge=300
BatchStartTimeout=5
SchedulerParameters=sched_min_interval=50000,bf_interval=2,batch_sched_delay=0
{nodes}
{partitions}
PartitionName=urgent Nodes={",".join(self.nodes["gpu"])} State=UP PriorityTier=9
""")
        devices = []
        for node in self.nodes["gpu"]:
            device = self.home / f"device-{node}0"
            device.touch()
            devices.append(f"NodeName={node} Name=gpu File={device}")
        # Snakemake's jobs hide SLURM's variables from srun, which would then look for
        # its configuration in /etc.
        srun = self.home / "bin" / "srun"
        srun.parent.mkdir(exist_ok=True)
        call = f'SLURM_CONF={self.home}/slurm.conf exec {shutil.which("srun")} "$@"'
        srun.write_text(f"#!/bin/sh\n{call}\n")
        srun.chmod(0o755)
        prolog = srun.with_name("prolog")  # prints what the environment of tasks gets
        prolog.write_text("#!/bin/sh\n")
        prolog.chmod(0o755)
        (self.home / "gres.conf").write_text("\n".join(devices) + "\n")


def missing_tools() -> list[str]:
    """Return which of SLURM's programs are not installed."""
    path = f"{os.environ['PATH']}:{_SBIN}"
    return [tool for tool in TOOLS if not shutil.which(tool, path=path)]


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _wait(
    what: str, reached: Callable[[], bool], *, seconds: float = 30, fatal: bool = True
) -> None:
    end = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > end:
            if fatal:
                raise TimeoutError(f"waited {seconds} s for {what}")
            return
        time.sleep(0.1)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _variable(pid: int, name: str) -> str:
    """Return a variable of a process's environment; empty if it has none."""
    try:
        words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    start = f"{name}=".encode()
    return next((w[len(start) :].decode() for w in words if w.startswith(start)), "")


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return ""


def _parent(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])


def _below(pids: list[int]) -> list[int]:
    """Return all descendants of some processes."""
    parents = {pid: _parent(pid) for pid in _processes()}
    found: list[int] = []
    level = set(pids)
    while level:
        level = {pid for pid, parent in parents.items() if parent in level}
        found += sorted(level)
    return found
