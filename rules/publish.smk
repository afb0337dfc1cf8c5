# All splits of a run together. The published files are no outputs: Snakemake deletes the outputs of a
# job before it runs.
rule publish:
    input:
        files=verified,
        audits=audits_needed,
    output:
        **makes("publish"),
    log:
        log_of("publish"),
    retries: 0  # of a cluster's profile, for jobs that were killed
    conda:
        "../envs/dinov3-metadata.yaml"
    params:
        call=call("publish"),
        says=says("publish"),
    message:
        "{params.says}"
    shell:
        "{PYTHON:q} {RUN_STAGE:q} {params.call:q}"
