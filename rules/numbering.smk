rule number_classes:
    output:
        **stages.makes("number_classes"),
    log:
        stages.where("number_classes.log"),
    retries: 0  # overrides a cluster's profile, whose retries are for killed jobs
    localrule: True
    conda:
        "../envs/dinov3-metadata.yaml"
    params:
        command=stages.command("number_classes"),
        says=stages.says("number_classes"),
    message:
        "{params.says}"
    shell:
        "{params.command:q}"
