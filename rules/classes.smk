rule dump_class_arrays:
    input:
        scan=f"{TREE}/scan.npz",
        entries=f"{ROWS}/entries-{{split}}.npy",
    output:
        class_ids=f"{ROWS}/class-ids-{{split}}.npy",
        class_names=f"{ROWS}/class-names-{{split}}.npy",
    log:
        f"{ROWS}/classes.log",
    benchmark:
        f"{ROWS}/classes.tsv"
    conda:
        "../envs/dinov3-metadata.yaml"
    resources:
        mem_mb=memory,
        runtime=minutes,
    message:
        "Write the class arrays of {wildcards.split}"
    script:
        "../workflow/scripts/classes.py"
