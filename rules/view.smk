# Only for datasets that do not lie as DINOv3 reads them.
rule link_view:
    output:
        folders=f"{VIEWS}/{RECORD}",
    log:
        f"{VIEWS}/view.log",
    benchmark:
        f"{VIEWS}/view.tsv"
    conda:
        "../envs/dinov3-metadata.yaml"
    threads: scan_threads
    resources:
        mem_mb=memory,
        runtime=minutes,
    params:
        dataset=dataset,
        root=root,
        extra=extra,
        layout=stages.layout,
        annotations=annotations,
        trust_timestamps=config["scan"]["trust_timestamps"],
        settings=view_settings,
        published=published_view,
        why=why_view,
    message:
        "Link {wildcards.split} as DINOv3 reads it: {params.why}"
    script:
        "../workflow/scripts/view.py"
