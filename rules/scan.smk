# The dataset is not an input. Snakemake only checks whether an input is newer than the output, but
# an edited dataset need not be.
rule scan_split:
    input:
        reads("scan_split"),
    output:
        **makes("scan_split"),
    log:
        where("scan_split.log"),
    benchmark:
        where("scan_split.tsv")
    conda:
        "../envs/dinov3-metadata.yaml"
    threads: scan_threads
    resources:
        mem_mb=memory,
        runtime=minutes,
    params:
        command=command("scan_split"),
        says=says("scan_split"),
    message:
        "{params.says}"
    shell:
        "{params.command:q}"
