# Open every image. This is off by default: it is done by `snakemake --cores 4 audit`, or if
# `audit: fail_on` names a problem.
scattergather:
    audit=8,


rule audit_images:
    input:
        reads("audit_images"),
    output:
        share=temp(where("share")),
    log:
        where("audit_images.log"),
    conda:
        "../envs/dinov3-metadata.yaml"
    resources:
        mem_mb=memory,
        runtime=audit_minutes,
    params:
        command=command("audit_images"),
        says=says("audit_images"),
    message:
        "{params.says}"
    shell:
        "{params.command:q}"


rule audit_split:
    input:
        reads("audit_split"),
        shares=shares,
    output:
        **makes("audit_split"),
    log:
        where("audit_split.log"),
    retries: 0  # overrides a cluster's profile, whose retries are for killed jobs
    conda:
        "../envs/dinov3-metadata.yaml"
    params:
        command=command("audit_split", shares=len(gather.audit("{scatteritem}"))),
        says=says("audit_split"),
    message:
        "{params.says}"
    shell:
        "{params.command:q}"


rule audit:
    input:
        audits,
    message:
        "All images were opened"
