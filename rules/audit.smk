# Open every image. This is off by default: it is done by `snakemake --cores 4 audit`, or if
# `audit: fail_on` names a problem.
scattergather:
    audit=8,


rule audit_images:
    input:
        stages.reads("audit_images"),
    output:
        share=temp(stages.where("share")),
    log:
        stages.where("audit_images.log"),
    conda:
        "../envs/dinov3-metadata.yaml"
    resources:
        mem_mb=stages.memory("audit_images"),
        runtime=stages.minutes("audit_images"),
    params:
        command=stages.command("audit_images"),
        says=stages.says("audit_images"),
    message:
        "{params.says}"
    shell:
        "{params.command:q}"


rule audit_split:
    input:
        stages.reads("audit_split"),
        shares=stages.shares,
    output:
        **stages.makes("audit_split"),
    log:
        stages.where("audit_split.log"),
    retries: 0  # overrides a cluster's profile, whose retries are for killed jobs
    localrule: True
    conda:
        "../envs/dinov3-metadata.yaml"
    params:
        command=stages.command("audit_split"),
        says=stages.says("audit_split"),
    message:
        "{params.says}"
    shell:
        "{params.command:q}"


rule audit:
    input:
        stages.audits,
    localrule: True
    message:
        "All images were opened"
