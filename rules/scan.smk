rule scan_split:
    output:
        scan=f"{TREE}/scan.npz",
    log:
        f"{TREE}/scan.log",
    benchmark:
        f"{TREE}/scan.tsv"
    conda:
        "../envs/dinov3-metadata.yaml"
    params:
        root=root,
        engine=config["scan"]["engine"],
        unaddressable=config["scan"]["unaddressable"],
    message:
        "Scan {wildcards.split} ({wildcards.tree})"
    script:
        "../workflow/scripts/scan.py"
