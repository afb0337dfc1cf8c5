# Leave out images by lists or a sample: only if the setting `select` asks for it.
rule select_images:
    input:
        stages.reads("select_images"),
        beside=stages.scans_beside,
    output:
        **stages.makes("select_images"),
    log:
        stages.where("select_images.log"),
    conda:
        "../envs/dinov3-metadata.yaml"
    resources:
        mem_mb=stages.memory("select_images"),
        runtime=stages.minutes("select_images"),
    params:
        command=stages.command("select_images"),
        says=stages.says("select_images"),
    message:
        "{params.says}"
    shell:
        "{params.command:q}"
