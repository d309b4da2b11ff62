"""Data sets.

Inputs: the registry (data/datasets.yaml) or a user's own files; for shadow data also
results/models/<key>/block_<first>-<stop>/
Outputs: resources/<source>/fetched.json; results/datasets/<source>-<key>/;
results/datasets/<step>/<key>/; results/datasets/shadow/<step>/<key>/
1. fetch the files of a registered data set and check their digests;
2. prepare the records and labels that models see;
3. make one data set from another;
4. make the records that shadows of a target learn from.
"""

DATASET = "results/datasets/{dataset}"
DERIVED = "results/datasets/{step}/{key}"
SHADOW_DATA = "results/datasets/shadow/{step}/{key}"


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


# Make what the shadows of a target learn from, where that is not real data.
rule synthesise_records:
    input:
        upstream(SHADOW_DATA),
        code=code(SHADOW_DATA),
    output:
        record=f"{SHADOW_DATA}/record.json",
        description=f"{SHADOW_DATA}/dataset.json",
        labels=f"{SHADOW_DATA}/labels.npy",
    log:
        "logs/datasets/shadow-{step}-{key}.log",
    benchmark:
        "benchmarks/jobs/datasets/shadow-{step}-{key}.jsonl"
    group:
        group_of_shadow_data
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        # As in query_block: a scheduler's job that trains too wants both to agree.
        ahead="[]",
    params:
        spec=spec(SHADOW_DATA),
        data=folders(SHADOW_DATA, "data"),
        block=optional_arguments(SHADOW_DATA, "block"),
        out=subpath(output.record, parent=True),
    shell:
        """
        whatelse synthesise --spec {params.spec:q} --data {params.data:q} \
            {params.block:q} --out {params.out:q} --threads {threads} >{log:q} 2>&1
        """
