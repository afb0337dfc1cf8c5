from pathlib import Path
from typing import TYPE_CHECKING

from dinov3_metadata.fingerprint import read_retired
from dinov3_metadata.labels import Labels
from dinov3_metadata.log import stage
from dinov3_metadata.scan import Scan
from dinov3_metadata.verify import verify, write_report

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake.log[0], snakemake.config["log"]["level"]):
    report = verify(
        snakemake.params.root,
        snakemake.wildcards.split,
        Scan.load(snakemake.input.scan),
        Labels.load(snakemake.input.labels) if snakemake.input.labels else None,
        {Path(path).name: path for path in snakemake.input.arrays},
        level=snakemake.params.level,
        sample=snakemake.params.sample,
        retired=read_retired(snakemake.input.folders),
    )
    write_report(report, snakemake.output.report)
