"""Attacks.

Inputs: results/outputs/<key>/<release>/block_<first>-<stop>/ of every replicate; models,
data sets and other models' where the attack reads them
Outputs: results/attacks/<study>/<attack>/
"""

ATTACK = "results/attacks/{study}/{attack}"


# Run one attack, with its controls, on the target of every replicate.
rule run_attack:
    input:
        upstream(ATTACK),
        code=code(ATTACK),
    output:
        record=f"{ATTACK}/record.json",
        metrics=f"{ATTACK}/metrics.json",
        curves=f"{ATTACK}/curves.csv",
        scores=f"{ATTACK}/scores.parquet",
    log:
        "logs/attacks/{study}/{attack}.log",
    benchmark:
        "benchmarks/jobs/attacks/{study}/{attack}.jsonl"
    group:
        "attacks"
    conda:
        ENVIRONMENT
    threads: 1
    params:
        spec=spec(ATTACK),
        inputs=attack_arguments,
        out=subpath(output.record, parent=True),
    shell:
        """
        whatelse attack --spec {params.spec:q} {params.inputs:q} \
            --out {params.out:q} --threads {threads} >{log:q} 2>&1
        """
