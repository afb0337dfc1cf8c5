rule load_labels:
    output:
        labels=f"{LABELS}/labels.json",
    log:
        f"{LABELS}/labels.log",
    retries: 0  # of a cluster's profile, for jobs that were killed
    conda:
        "../envs/dinov3-metadata.yaml"
    params:
        path=labels_file,
        content=labels_content,
    message:
        "Read the labels"
    script:
        "../workflow/scripts/labels.py"
