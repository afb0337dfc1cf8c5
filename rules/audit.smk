# Off by default: `snakemake --cores 4 audit`, or a problem in `audit: fail_on`.
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
    retries: 0  # of a cluster's profile, for jobs that were killed
    conda:
        "../envs/dinov3-metadata.yaml"
    params:
        command=command("audit_split", scatteritems=gather.audit("{scatteritem}")),
        says=says("audit_split"),
    message:
        "{params.says}"
    shell:
        "{params.command:q}"


rule audit:
    input:
        audits,
    message:
        "Every image was looked at"
