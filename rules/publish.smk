# The published files are no outputs: Snakemake deletes the outputs of a job before it runs.
rule publish:
    input:
        scan=f"{TREE}/scan.npz",
        arrays=staged,
        report=f"{CHECKS}/verify-{{split}}.json",
        audit=audit_due,
    output:
        receipt=f"{CHECKS}/{{receipt}}.json",
    log:
        f"{CHECKS}/{{receipt}}.log",
    retries: 0  # of a cluster's profile, for jobs that were killed
    conda:
        "../envs/dinov3-metadata.yaml"
    params:
        origin=origin,
        extra=extra,
    message:
        "Publish {wildcards.split}"
    script:
        "../workflow/scripts/publish.py"
