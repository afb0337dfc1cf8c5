# Make the metadata that DINOv3 trains from, given an ImageNet-style folder of images:
#
#   load_labels → (link_view →) scan_split → (select_images →) (number_classes →) dump_entries → dump_class_arrays → verify → publish
#
# config.yaml contains the settings, rules/ one file per stage, workflow/ the code of the stages.
# docs/module.md shows how another workflow uses this one.

from snakemake.sourcecache import LocalSourceFile
from snakemake.utils import min_version

min_version("9.27")

HOUSE = workflow.current_basedir
if not isinstance(HOUSE, LocalSourceFile):

    include: HOUSE.join("rules/fetch.smk")  # sets HOUSE


IS_MODULE = not workflow.modifier.is_main_snakefile()


include: f"{HOUSE}/rules/common.smk"
include: f"{HOUSE}/rules/labels.smk"
include: f"{HOUSE}/rules/view.smk"
include: f"{HOUSE}/rules/scan.smk"
include: f"{HOUSE}/rules/selection.smk"
include: f"{HOUSE}/rules/numbering.smk"
include: f"{HOUSE}/rules/entries.smk"
include: f"{HOUSE}/rules/classes.smk"
include: f"{HOUSE}/rules/verify.smk"
include: f"{HOUSE}/rules/audit.smk"
include: f"{HOUSE}/rules/sound.smk"
include: f"{HOUSE}/rules/duplicates.smk"
include: f"{HOUSE}/rules/publish.smk"
include: f"{HOUSE}/rules/report.smk"


rule all:
    input:
        stages.artefacts,
        report_pages,
    localrule: True
    message:
        "Everything is in place"


stages.complete()


onsuccess:
    escape(sys.stdout)
    print(summarise(stages.chain))


onerror:
    print(failures(stages.extra, list(log)), file=sys.stderr)
