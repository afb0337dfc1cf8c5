# The dataset is not an input. Snakemake only checks whether an input is newer than the output, but
# an edited dataset need not be.
rule scan_split:
    input:
        stages.reads("scan_split"),
    output:
        **stages.makes("scan_split"),
    log:
        stages.where("scan_split.log"),
    benchmark:
        stages.where("scan_split.tsv")
    conda:
        "../envs/dinov3-metadata.yaml"
    threads: stages.scan_threads
    resources:
        mem_mb=stages.memory("scan_split"),
        runtime=stages.minutes("scan_split"),
    params:
        command=stages.command("scan_split"),
        says=stages.says("scan_split"),
    message:
        "{params.says}"
    shell:
        "{params.command:q}"
