"""The sketch for Kubernetes: a dry-run takes the profile and the whole demo."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from checkouts import Checkout

PLUGINS = ("snakemake_executor_plugin_kubernetes", "snakemake_storage_plugin_fs")

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.skipif(
        not all(map(find_spec, PLUGINS)), reason=f"needs {' and '.join(PLUGINS)}"
    ),
]


def test_dry_run(clean: Checkout, tmp_path: Path) -> None:
    # the volume's place is the site's; no cluster is asked
    said = clean.call(
        "snakemake", "--workflow-profile", "profiles/kubernetes", "--dry-run",
        "--default-storage-prefix", str(clean.root), KUBECONFIG=str(tmp_path / "none"),
    )  # fmt: skip
    text = said.stdout + said.stderr
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", text, flags=re.MULTILINE))
    for rule in ("prepare_dataset", "run_attack", "draw_figure", "track_study"):
        assert int(jobs[rule]) > 0
    # as in profiles/slurm: neighbouring blocks and their outputs share a job
    grouped = text.partition("Group job models-0")[2].partition("\n[")[0]
    assert grouped.count("rule train_block:") == int(jobs["train_block"]) > 1
    assert grouped.count("rule query_block:") == int(jobs["query_block"])
    assert grouped.count("gpu=1, gpu_manufacturer=nvidia") == int(
        jobs["train_block"]
    ) + int(jobs["query_block"])
    results = re.findall(r"output: (\S+) \(send to storage\)", text)
    assert results
    assert all(path.startswith(f"{clean.root}/results/") for path in results)
    assert not clean.results.exists()
