rule dump_entries:
    input:
        reads("dump_entries"),
    output:
        **makes("dump_entries"),
    log:
        log_of("dump_entries"),
    benchmark:
        times_of("dump_entries")
    conda:
        "../envs/dinov3-metadata.yaml"
    resources:
        mem_mb=memory,
        runtime=minutes,
    params:
        call=call("dump_entries"),
        says=says("dump_entries"),
    message:
        "{params.says}"
    shell:
        "{PYTHON:q} {RUN_STAGE:q} {params.call:q}"
