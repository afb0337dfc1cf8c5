rule verify:
    input:
        reads("verify"),
    output:
        **makes("verify"),
    log:
        log_of("verify"),
    benchmark:
        times_of("verify")
    conda:
        "../envs/dinov3-metadata.yaml"
    resources:
        mem_mb=memory,
        runtime=minutes,
    params:
        call=call("verify"),
        says=says("verify"),
    message:
        "{params.says}"
    shell:
        "{PYTHON:q} {RUN_STAGE:q} {params.call:q}"
