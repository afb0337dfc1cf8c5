# Off by default: `snakemake --cores 4 audit`, or a problem in `audit: fail_on`.
scattergather:
    audit=8,


rule audit_images:
    input:
        scan=f"{TREE}/scan.npz",
    output:
        rows=temp(f"{AUDITS}/{{scatteritem}}.npy"),
    log:
        f"{AUDITS}/{{scatteritem}}.log",
    conda:
        "../envs/dinov3-metadata.yaml"
    resources:
        mem_mb=memory,
        runtime=audit_minutes,
    params:
        root=root,
        extra=extra,
        layout=stages.layout,
    message:
        "Open the images of {wildcards.split} that are new, {wildcards.scatteritem}"
    script:
        "../workflow/scripts/audit_images.py"


rule audit_split:
    input:
        scan=f"{TREE}/scan.npz",
        rows=shares,
    output:
        summary=f"{AUDITS}/audit-{{split}}.json",
    log:
        f"{AUDITS}/audit.log",
    retries: 0  # of a cluster's profile, for jobs that were killed
    conda:
        "../envs/dinov3-metadata.yaml"
    params:
        root=root,
        extra=extra,
        fail_on=config["audit"]["fail_on"],
        keep=config["keep"],
    message:
        "Audit {wildcards.split}"
    script:
        "../workflow/scripts/audit_split.py"


rule audit:
    input:
        audits,
    message:
        "Every image was looked at"
