# Leave out images with problems that the audit finds: only if `select: audit` names some.
rule select_sound:
    input:
        stages.reads("select_sound"),
        audits=stages.audits_before,
    output:
        **stages.makes("select_sound"),
    log:
        stages.where("select_sound.log"),
    retries: 0  # overrides a cluster's profile, whose retries are for killed jobs
    localrule: True
    conda:
        "../envs/dinov3-metadata.yaml"
    params:
        command=stages.command("select_sound"),
        says=stages.says("select_sound"),
    message:
        "{params.says}"
    shell:
        "{params.command:q}"
