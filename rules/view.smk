# Only for datasets in another layout than DINOv3's.
rule link_view:
    output:
        **makes("link_view"),
    log:
        log_of("link_view"),
    benchmark:
        times_of("link_view")
    conda:
        "../envs/dinov3-metadata.yaml"
    threads: scan_threads
    resources:
        mem_mb=memory,
        runtime=minutes,
    params:
        call=call("link_view"),
        says=says("link_view"),
    message:
        "{params.says}"
    shell:
        "{PYTHON:q} {RUN_STAGE:q} {params.call:q}"
