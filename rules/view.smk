# Make a view of a dataset whose layout is not DINOv3's.
rule link_view:
    output:
        **makes("link_view"),
    log:
        where("link_view.log"),
    benchmark:
        where("link_view.tsv")
    conda:
        "../envs/dinov3-metadata.yaml"
    threads: scan_threads
    resources:
        mem_mb=memory,
        runtime=minutes,
    params:
        command=command("link_view"),
        says=says("link_view"),
    message:
        "{params.says}"
    shell:
        "{params.command:q}"
