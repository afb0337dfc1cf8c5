from pathlib import Path
from typing import TYPE_CHECKING

from dinov3_metadata.files import remove_siblings
from dinov3_metadata.fingerprint import write_record
from dinov3_metadata.log import stage
from dinov3_metadata.scan import last_scan, scan_split

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake.log[0], snakemake.config["log"]["level"]):
    work = Path(snakemake.output.scan).parent
    scan, folders = scan_split(
        snakemake.params.root,
        snakemake.wildcards.split,
        engine=snakemake.params.engine,
        unaddressable=snakemake.params.unaddressable,
        trust_timestamps=snakemake.params.trust_timestamps,
        threads=snakemake.threads,
        previous=last_scan(work.parent, snakemake.params.settings),
    )
    scan.save(snakemake.output.scan)
    write_record(
        snakemake.output.folders, snakemake.params.settings, folders, snakemake.params.after
    )
    remove_siblings(work)
