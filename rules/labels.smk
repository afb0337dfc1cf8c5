rule load_labels:
    output:
        **makes("load_labels"),
    log:
        where("load_labels.log"),
    retries: 0  # overrides a cluster's profile, whose retries are for killed jobs
    conda:
        "../envs/dinov3-metadata.yaml"
    params:
        command=command("load_labels"),
        says=says("load_labels"),
    message:
        "{params.says}"
    shell:
        "{params.command:q}"
