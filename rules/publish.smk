# Publish all splits of a run together. The published files are not outputs, because Snakemake
# deletes the outputs of a job before it runs.
rule publish:
    input:
        files=verified,
        audits=audits_needed,
    output:
        **makes("publish"),
    log:
        where("publish.log"),
    retries: 0  # overrides a cluster's profile, whose retries are for killed jobs
    conda:
        "../envs/dinov3-metadata.yaml"
    params:
        command=command("publish"),
        says=says("publish"),
    message:
        "{params.says}"
    shell:
        "{params.command:q}"
