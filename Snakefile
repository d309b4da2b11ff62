"""What else has the model learned? Measured from raw data to figure.

`rule all` makes every study of config/config.yaml; each question has a target of its
own. `whatelse run STUDY.yaml` calls this workflow and then makes the report.
"""

from snakemake.utils import min_version

min_version("9.27")


configfile: f"{workflow.basedir}/config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/datasets.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/attacks.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/tracking.smk"


# Everything that the studies of config/config.yaml ask for.
rule all:
    default_target: True
    input:
        study_targets(),
    localrule: True


# Was this record in the training data?
rule membership:
    input:
        study_targets("membership"),
    localrule: True


# What data does the model carry away?
rule memorization:
    input:
        study_targets("memorization"),
    localrule: True


# Which properties did it pick up?
rule properties:
    input:
        study_targets("properties"),
    localrule: True


# Which behaviour did someone hide in it?
rule backdoors:
    input:
        study_targets("backdoors"),
    localrule: True


# Only now: a block is safe from being made again once Snakemake knows that it is done.
onsuccess:
    clear_leavings()
