# The dataset is no input: Snakemake asks whether an input is newer, which an edit need not make it.
rule scan_split:
    input:
        view=view_of,
    output:
        scan=f"{TREE}/scan.npz",
        folders=f"{TREE}/{RECORD}",
    log:
        f"{TREE}/scan.log",
    benchmark:
        f"{TREE}/scan.tsv"
    conda:
        "../envs/dinov3-metadata.yaml"
    threads: scan_threads
    resources:
        mem_mb=memory,
        runtime=minutes,
    params:
        root=root,
        engine=config["scan"]["engine"],
        unaddressable=config["scan"]["unaddressable"],
        trust_timestamps=config["scan"]["trust_timestamps"],
        settings=scan_settings,
        after=view_name,
        watch_links=watch_links,
        published=published_scan,
        why=why_scan,
    message:
        "Scan {wildcards.split}: {params.why}"
    script:
        "../workflow/scripts/scan.py"
