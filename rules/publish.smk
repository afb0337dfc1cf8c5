# All splits of a run together. The published files are no outputs: Snakemake deletes the outputs of a
# job before it runs.
rule publish:
    input:
        files=verified,
        audits=audits_needed,
    output:
        **makes("publish"),
    log:
        where("publish.log"),
    retries: 0  # of a cluster's profile, for jobs that were killed
    conda:
        "../envs/dinov3-metadata.yaml"
    params:
        command=command("publish"),
        says=says("publish"),
    message:
        "{params.says}"
    shell:
        "{params.command:q}"
