# Make a view of a dataset whose layout is not DINOv3's.
rule link_view:
    output:
        **stages.makes("link_view"),
    log:
        stages.where("link_view.log"),
    benchmark:
        stages.where("link_view.tsv")
    conda:
        "../envs/dinov3-metadata.yaml"
    threads: stages.scan_threads
    resources:
        mem_mb=stages.memory("link_view"),
        runtime=stages.minutes("link_view"),
    params:
        command=stages.command("link_view"),
        says=stages.says("link_view"),
    message:
        "{params.says}"
    shell:
        "{params.command:q}"
