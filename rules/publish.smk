# Publish all splits of a run together. The published files are not outputs, because Snakemake
# deletes the outputs of a job before it runs.
rule publish:
    input:
        files=stages.verified,
        audits=stages.audits_needed,
    output:
        **stages.makes("publish"),
    log:
        stages.where("publish.log"),
    retries: 0  # overrides a cluster's profile, whose retries are for killed jobs
    localrule: True
    conda:
        "../envs/dinov3-metadata.yaml"
    params:
        command=stages.command("publish"),
        says=stages.says("publish"),
    message:
        "{params.says}"
    shell:
        "{params.command:q}"
