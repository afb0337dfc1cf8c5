from pathlib import Path
from typing import TYPE_CHECKING

from dinov3_metadata.audit import publish_audit, write_summary
from dinov3_metadata.files import remove_siblings
from dinov3_metadata.log import stage
from dinov3_metadata.scan import Scan

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake.log[0], snakemake.config["log"]["level"]):
    summary = publish_audit(
        snakemake.input.rows,
        snakemake.params.root,
        snakemake.params.extra,
        snakemake.wildcards.split,
        Scan.load(snakemake.input.scan),
        snakemake.params.fail_on,
    )
    write_summary(summary, snakemake.output.summary)
    own = Path(snakemake.output.summary).parent
    remove_siblings(own, own.name.split("-")[:1])
    remove_siblings(own.parent)
