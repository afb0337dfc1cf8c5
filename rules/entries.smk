rule dump_entries:
    input:
        scan=f"{TREE}/scan.npz",
        labels=labels_of,
    output:
        entries=f"{ROWS}/entries-{{split}}.npy",
    log:
        f"{ROWS}/entries.log",
    benchmark:
        f"{ROWS}/entries.tsv"
    conda:
        "../envs/dinov3-metadata.yaml"
    resources:
        mem_mb=memory,
        runtime=minutes,
    message:
        "Write the entries of {wildcards.split}"
    script:
        "../workflow/scripts/entries.py"
