# All splits of a run together. The published files are no outputs: Snakemake deletes the outputs of a
# job before it runs.
rule publish:
    input:
        files=verified_files,
        audits=audits_due,
    output:
        receipt=f"{WORK}/published/{{receipt}}.json",
    log:
        f"{WORK}/published/{{receipt}}.log",
    retries: 0  # of a cluster's profile, for jobs that were killed
    conda:
        "../envs/dinov3-metadata.yaml"
    params:
        splits=verified,
        origin=origin,
        extra=extra,
        keep=config["keep"],
    message:
        "Publish"
    script:
        "../workflow/scripts/publish.py"
