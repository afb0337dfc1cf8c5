# The dataset is no input: Snakemake asks whether an input is newer, which an edit need not make it.
rule scan_split:
    input:
        reads("scan_split"),
    output:
        **makes("scan_split"),
    log:
        log_of("scan_split"),
    benchmark:
        times_of("scan_split")
    conda:
        "../envs/dinov3-metadata.yaml"
    threads: scan_threads
    resources:
        mem_mb=memory,
        runtime=minutes,
    params:
        call=call("scan_split"),
        says=says("scan_split"),
    message:
        "{params.says}"
    shell:
        "{PYTHON:q} {RUN_STAGE:q} {params.call:q}"
