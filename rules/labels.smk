rule load_labels:
    output:
        **stages.makes("load_labels"),
    log:
        stages.where("load_labels.log"),
    retries: 0  # overrides a cluster's profile, whose retries are for killed jobs
    localrule: True
    conda:
        "../envs/dinov3-metadata.yaml"
    params:
        command=stages.command("load_labels"),
        says=stages.says("load_labels"),
    message:
        "{params.says}"
    shell:
        "{params.command:q}"
