rule number_classes:
    output:
        **makes("number_classes"),
    log:
        where("number_classes.log"),
    retries: 0  # overrides a cluster's profile, whose retries are for killed jobs
    conda:
        "../envs/dinov3-metadata.yaml"
    params:
        command=command("number_classes"),
        says=says("number_classes"),
    message:
        "{params.says}"
    shell:
        "{params.command:q}"
