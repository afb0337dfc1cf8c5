# Make the metadata that DINOv3 trains from, given an ImageNet-style folder of images:
#
#   load_labels → (link_view →) scan_split → (number_classes →) dump_entries → dump_class_arrays → verify → publish
#
# config.yaml contains the settings, rules/ one file per stage, workflow/ the code of the stages.

from snakemake.utils import min_version

min_version("9.27")


configfile: f"{workflow.basedir}/config.yaml"


report: "workflow/report/overview.rst"


include: "rules/common.smk"
include: "rules/labels.smk"
include: "rules/view.smk"
include: "rules/scan.smk"
include: "rules/numbering.smk"
include: "rules/entries.smk"
include: "rules/classes.smk"
include: "rules/verify.smk"
include: "rules/audit.smk"
include: "rules/publish.smk"
include: "rules/report.smk"


localrules:
    all,
    audit,
    audit_split,
    load_labels,
    number_classes,
    publish,


rule all:
    default_target: True
    input:
        stages.artefacts,
        pages(),
    message:
        "Everything is in place"


onsuccess:
    sys.stdout.reconfigure(errors="backslashreplace")
    print(summarise(stages.chain))


onerror:
    print(failures(stages.extra, list(log)), file=sys.stderr)
