# Compare the images of all audited splits: after `snakemake audit`, or if `audit: fail_on` names
# `duplicate` or `leak`.
rule find_duplicates:
    input:
        stages.audits_compared,
    output:
        **stages.makes("find_duplicates"),
    log:
        stages.where("find_duplicates.log"),
    retries: 0  # overrides a cluster's profile, whose retries are for killed jobs
    localrule: True
    conda:
        "../envs/dinov3-metadata.yaml"
    params:
        command=stages.command("find_duplicates"),
        says=stages.says("find_duplicates"),
    message:
        "{params.says}"
    shell:
        "{params.command:q}"
