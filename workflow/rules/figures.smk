"""Figures and claims.

Inputs: results/attacks/<study>/<attack>/; data/published/
Outputs: results/figures/<study>/<figure>/; results/claims/<study>/
"""

FIGURE = "results/figures/{study}/{figure}"
CLAIMS = "results/claims/{study}"


# Redraw one figure or table of a paper from the attacks that it names.
rule draw_figure:
    input:
        upstream(FIGURE),
        code=code(FIGURE),
    output:
        record=f"{FIGURE}/record.json",
        pdf=f"{FIGURE}/figure.pdf",
        png=report(
            f"{FIGURE}/figure.png",
            caption="../report/figure.rst",
            category=title_of,
            subcategory="Figures",
            labels=report_labels(FIGURE, "picture"),
        ),
        data=report(
            f"{FIGURE}/data.csv",
            caption="../report/figure.rst",
            category=title_of,
            subcategory="Figures",
            labels=report_labels(FIGURE, "values"),
        ),
    log:
        "logs/figures/{study}/{figure}.log",
    benchmark:
        "benchmarks/jobs/figures/{study}/{figure}.jsonl"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    params:
        spec=spec(FIGURE),
        shows=label(FIGURE, "shows"),
        title=label(FIGURE, "title"),
        attacks=folders(FIGURE, "attacks"),
        out=subpath(output.record, parent=True),
    shell:
        """
        whatelse figure --spec {params.spec:q} --attacks {params.attacks:q} \
            --out {params.out:q} >{log:q} 2>&1
        """


# Hold the results of a study against the published numbers.
rule check_claims:
    input:
        upstream(CLAIMS),
        published=files(CLAIMS),
        code=code(CLAIMS),
    output:
        record=f"{CLAIMS}/record.json",
        rows=f"{CLAIMS}/claims.json",
        table=f"{CLAIMS}/claims.csv",
        page=report(
            f"{CLAIMS}/claims.html",
            caption="../report/claims.rst",
            category=title_of,
            subcategory="Claims",
            labels={"table": "Published numbers and ours"},
        ),
    log:
        "logs/claims/{study}.log",
    benchmark:
        "benchmarks/jobs/claims/{study}.jsonl"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    params:
        spec=spec(CLAIMS),
        attacks=folders(CLAIMS, "attacks"),
        published=published_folder,
        out=subpath(output.record, parent=True),
    shell:
        """
        whatelse claims --spec {params.spec:q} --attacks {params.attacks:q} \
            --published {params.published:q} --out {params.out:q} >{log:q} 2>&1
        """
