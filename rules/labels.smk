rule load_labels:
    output:
        **makes("load_labels"),
    log:
        where("load_labels.log"),
    retries: 0  # of a cluster's profile, for jobs that were killed
    conda:
        "../envs/dinov3-metadata.yaml"
    params:
        command=command("load_labels"),
        says=says("load_labels"),
    message:
        "{params.says}"
    shell:
        "{params.command:q}"
