rule load_labels:
    output:
        **makes("load_labels"),
    log:
        log_of("load_labels"),
    retries: 0  # of a cluster's profile, for jobs that were killed
    conda:
        "../envs/dinov3-metadata.yaml"
    params:
        call=call("load_labels"),
        says=says("load_labels"),
    message:
        "{params.says}"
    shell:
        "{PYTHON:q} {RUN_STAGE:q} {params.call:q}"
