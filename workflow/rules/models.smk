"""Models and their released outputs.

Inputs: results/datasets/<source>-<key>/ or a user's own outputs
Outputs: results/models/<key>/block_<first>-<stop>/; results/collaborations/<key>/joint/;
results/outputs/<key>/<release>/block_<first>-<stop>/
1. train the models <first> to <stop> - 1 of a family: the target and shadows, packed as
   one ensemble; or fit a joint model among participants;
2. ask them about the records that they are tested on, through the release;
3. or take in the outputs of a model that was trained elsewhere.
"""

BLOCK = "results/models/{key}/block_{block}"
OUTPUTS = "results/outputs/{key}/{release}/block_{block}"
IMPORTED = "results/outputs/{key}/imported"
JOINT = "results/collaborations/{key}/joint"


# Train the models of a block; a killed job goes on from the models that it finished.
rule train_block:
    input:
        upstream(BLOCK),
        code=code(BLOCK),
    output:
        record=f"{BLOCK}/record.json",
        description=f"{BLOCK}/model.json",
        models=f"{BLOCK}/models.safetensors",
        plan=f"{BLOCK}/plan.npz",
    log:
        "logs/models/{key}/block_{block}.log",
    benchmark:
        "benchmarks/jobs/models/{key}/block_{block}.jsonl"
    # On a cluster, blocks that follow each other share a job (profiles/slurm).
    group:
        group_of_block
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        # Said here because it is how to run: unlike params, it makes nothing stale.
        ahead=blocks_ahead,
    params:
        spec=spec(BLOCK),
        models=label(BLOCK, "models"),
        data=folders(BLOCK, "data"),
        base=optional_arguments(BLOCK, "base"),
        out=subpath(output.record, parent=True),
        progress="results/progress/{key}/block_{block}",
    shell:
        """
        whatelse train --spec {params.spec:q} --models {params.models} \
            --data {params.data:q} {params.base:q} --progress {params.progress:q} \
            --ahead {resources.ahead:q} --out {params.out:q} \
            --threads {threads} >{log:q} 2>&1
        """


# Fit a joint model among participants, with what one of them sees of the others.
rule collaborate:
    input:
        upstream(JOINT),
        code=code(JOINT),
    output:
        record=f"{JOINT}/record.json",
        about=f"{JOINT}/collaboration.json",
        observations=f"{JOINT}/observations.safetensors",
        description=f"{JOINT}/model.json",
        models=f"{JOINT}/models.safetensors",
        plan=f"{JOINT}/plan.npz",
    log:
        "logs/collaborations/{key}/joint.log",
    benchmark:
        "benchmarks/jobs/collaborations/{key}/joint.jsonl"
    conda:
        ENVIRONMENT
    threads: 1
    params:
        spec=spec(JOINT),
        data=folders(JOINT, "data"),
        base=optional_arguments(JOINT, "base"),
        out=subpath(output.record, parent=True),
        progress="results/progress/{key}/joint",
    shell:
        """
        whatelse collaborate --spec {params.spec:q} --data {params.data:q} \
            {params.base:q} --progress {params.progress:q} --out {params.out:q} \
            --threads {threads} >{log:q} 2>&1
        """


# Ask the models of a block about the records that they are tested on.
rule query_block:
    input:
        upstream(OUTPUTS),
        code=code(OUTPUTS),
    output:
        record=f"{OUTPUTS}/record.json",
        description=f"{OUTPUTS}/outputs.json",
        outputs=f"{OUTPUTS}/outputs.safetensors",
    log:
        "logs/outputs/{key}/{release}/block_{block}.log",
    benchmark:
        "benchmarks/jobs/outputs/{key}/{release}/block_{block}.jsonl"
    group:
        group_of_block
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        # Jobs of one group must agree on a resource that is text: as in `train_block`.
        ahead=blocks_ahead,
    params:
        spec=spec(OUTPUTS),
        data=folders(OUTPUTS, "data"),
        block=folders(OUTPUTS, "block"),
        out=subpath(output.record, parent=True),
    shell:
        """
        whatelse query --spec {params.spec:q} --data {params.data:q} \
            --block {params.block:q} --out {params.out:q} \
            --threads {threads} >{log:q} 2>&1
        """


# Take in the outputs of a model that a user trained elsewhere.
rule import_outputs:
    input:
        files=files(IMPORTED),
        code=code(IMPORTED),
    output:
        record=f"{IMPORTED}/record.json",
        description=f"{IMPORTED}/outputs.json",
        outputs=f"{IMPORTED}/outputs.safetensors",
    log:
        "logs/outputs/{key}/imported.log",
    benchmark:
        "benchmarks/jobs/outputs/{key}/imported.jsonl"
    conda:
        ENVIRONMENT
    threads: 1
    params:
        spec=spec(IMPORTED),
        out=subpath(output.record, parent=True),
    shell:
        """
        whatelse import --spec {params.spec:q} --out {params.out:q} >{log:q} 2>&1
        """
