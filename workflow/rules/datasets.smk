"""Data sets.

Inputs: the registry (data/datasets.yaml) or a user's own files.
Outputs: resources/<source>/fetched.json; results/datasets/<source>-<key>/;
results/datasets/<step>/<key>/
1. fetch the files of a registered data set and check their digests;
2. prepare the records and labels that models see;
3. make one data set from another.
"""

DATASET = "results/datasets/{dataset}"
DERIVED = "results/datasets/{step}/{key}"


# Get the files of a data set of the registry, from the mirror or the original source.
rule fetch_dataset:
    input:
        registry=ancient(REGISTRY),
    output:
        "resources/{source}/fetched.json",
    log:
        "logs/datasets/fetch-{source}.log",
    benchmark:
        "benchmarks/jobs/datasets/fetch-{source}.jsonl"
    retries: 2
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    params:
        # Of the registry only this entry's files matter: an edit to another, or to a
        # licence, fetches nothing.
        known=known_files,
    shell:
        """
        whatelse datasets fetch {wildcards.source:q} --raw resources \
            --registry {input.registry:q} >{log:q} 2>&1
        """


# Make a data set's records and labels from its raw files.
rule prepare_dataset:
    input:
        files=files(DATASET),
        code=code(DATASET),
    output:
        record=f"{DATASET}/record.json",
        description=f"{DATASET}/dataset.json",
        labels=f"{DATASET}/labels.npy",
    log:
        "logs/datasets/{dataset}.log",
    benchmark:
        "benchmarks/jobs/datasets/{dataset}.jsonl"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    params:
        spec=spec(DATASET),
        out=subpath(output.record, parent=True),
        registry=REGISTRY,
    shell:
        """
        whatelse datasets prepare --spec {params.spec:q} --raw resources \
            --registry {params.registry:q} --out {params.out:q} >{log:q} 2>&1
        """


# Make one data set from another; who trains on it is told its path and nothing else.
rule preprocess_dataset:
    input:
        upstream(DERIVED),
        code=code(DERIVED),
    output:
        record=f"{DERIVED}/record.json",
        description=f"{DERIVED}/dataset.json",
        labels=f"{DERIVED}/labels.npy",
    log:
        "logs/datasets/{step}-{key}.log",
    benchmark:
        "benchmarks/jobs/datasets/{step}-{key}.jsonl"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    params:
        spec=spec(DERIVED),
        data=folders(DERIVED, "data"),
        out=subpath(output.record, parent=True),
    shell:
        """
        whatelse derive --spec {params.spec:q} --data {params.data:q} \
            --out {params.out:q} >{log:q} 2>&1
        """
