"""Tracking: mirror the records of a study into MLflow.

Inputs: the records of everything in the study
Outputs: results/tracking/<study>.json, the ids of its runs; mlflow.db, mlartifacts/
"""


# One process writes to MLflow, from the records; jobs never do. A server that is away
# stops nothing: the next run catches up.
rule track_study:
    input:
        study_records,
    output:
        "results/tracking/{study}.json",
    log:
        "logs/tracking/{study}.log",
    benchmark:
        "benchmarks/jobs/tracking/{study}.jsonl"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mlflow_db=1,
    params:
        study=study_arguments,
    shell:
        """
        whatelse track {params.study:q} --results results --out {output:q} \
            --patient >{log:q} 2>&1
        """
