rule dump_class_arrays:
    input:
        reads("dump_class_arrays"),
    output:
        **makes("dump_class_arrays"),
    log:
        log_of("dump_class_arrays"),
    benchmark:
        times_of("dump_class_arrays")
    conda:
        "../envs/dinov3-metadata.yaml"
    resources:
        mem_mb=memory,
        runtime=minutes,
    params:
        call=call("dump_class_arrays"),
        says=says("dump_class_arrays"),
    message:
        "{params.says}"
    shell:
        "{PYTHON:q} {RUN_STAGE:q} {params.call:q}"
