rule verify:
    input:
        scan=f"{TREE}/scan.npz",
        folders=f"{TREE}/{RECORD}",
        labels=labels_of,
        arrays=staged,
    output:
        report=f"{CHECKS}/verify-{{split}}.json",
    log:
        f"{CHECKS}/verify.log",
    benchmark:
        f"{CHECKS}/verify.tsv"
    conda:
        "../envs/dinov3-metadata.yaml"
    resources:
        mem_mb=memory,
        runtime=minutes,
    params:
        root=root,
        level=config["verify"]["level"],
        sample=config["verify"]["sample"],
    message:
        "Verify {wildcards.split}"
    script:
        "../workflow/scripts/verify.py"
