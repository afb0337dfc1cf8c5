# Off by default: `snakemake --cores 4 audit`, or a problem in `audit: fail_on`.
scattergather:
    audit=8,


rule audit_images:
    input:
        reads("audit_images"),
    output:
        share=temp(pattern(stages.extra, "share")),
    log:
        log_of("audit_images"),
    conda:
        "../envs/dinov3-metadata.yaml"
    resources:
        mem_mb=memory,
        runtime=audit_minutes,
    params:
        call=call("audit_images"),
        says=says("audit_images"),
    message:
        "{params.says}"
    shell:
        "{PYTHON:q} {RUN_STAGE:q} {params.call:q}"


rule audit_split:
    input:
        reads("audit_split"),
        shares=shares,
    output:
        **makes("audit_split"),
    log:
        log_of("audit_split"),
    retries: 0  # of a cluster's profile, for jobs that were killed
    conda:
        "../envs/dinov3-metadata.yaml"
    params:
        call=call("audit_split", scatteritems=gather.audit("{scatteritem}")),
        says=says("audit_split"),
    message:
        "{params.says}"
    shell:
        "{PYTHON:q} {RUN_STAGE:q} {params.call:q}"


rule audit:
    input:
        audits,
    message:
        "Every image was looked at"
