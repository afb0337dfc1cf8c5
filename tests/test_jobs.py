"""What would keep the jobs of a run from starting is refused before."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from dinov3_metadata.chain import STAGES
from dinov3_metadata.errors import MetadataError
from dinov3_metadata.jobs import check_rules, one_word, workflow_profile
from dinov3_metadata.present import Chain
from dinov3_metadata.settings import Settings
from dinov3_metadata.summary import failures
from helpers import REPOSITORY


def test_a_word_that_no_command_can_have_is_refused(tree: Path, tmp_path: Path) -> None:
    chain = Chain(Settings(str(tree), str(tmp_path / "extra")))
    given = STAGES["publish"].given(chain, "")
    call = {"rule": "publish", "extra": chain.extra, "state": {}, "given": given}
    assert json.loads(one_word(call)) == call
    longest = "/" + "\N{LATIN SMALL LETTER E WITH ACUTE}" * 2000  # 4,000 bytes, as a path may have
    one_word({"rule": "publish", "extra": longest, "given": [longest] * 6})
    with pytest.raises(MetadataError, match="are too long together"):
        one_word({"given": ["\x01" * 4000] * 6})


def test_a_profile_is_looked_for_where_snakemake_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ours = str(REPOSITORY / "profiles/slurm")
    for words in (["--workflow-profile", "slurm"], ["--workflow-profile=slurm"], ["--cores", ours]):
        assert workflow_profile([*words, "slurm"]) == (ours if "--cores" not in words else "")
    for name in ("profiles/slurm", "slurm"):
        (tmp_path / name).mkdir(parents=True)
        assert workflow_profile(["--workflow-profile", "slurm"]) == name
    assert workflow_profile(["--workflow-profile", "none"]) == ""
    with pytest.raises(MetadataError, match=r"no profile 'my/slrm', .* Did you mean 'slurm'\?"):
        workflow_profile(["--workflow-profile", "my/slrm"])
    assert workflow_profile(["--workflow-profile=slrm", "--directory", "/"]) == ""


@pytest.mark.needs("snakemake")
def test_a_profile_that_is_not_there_ends_the_run(snakemake: Callable, tree: Path) -> None:
    """Snakemake itself would run without it, perhaps on a login node."""
    from snakemake.cli import parse_args

    args = parse_args(["-s", str(REPOSITORY / "Snakefile"), "--workflow-profile", "/my/slrm"])[1]
    assert args.executor is None  # as it does still
    said = snakemake("--workflow-profile", "/my/slurm", fails=True, root=tree, extra=tree).stdout
    assert "no profile '/my/slurm', neither here nor among ours: default, pbs, sge, slurm." in said


@pytest.mark.needs("snakemake")
@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--set-resources", "scan_split:mem_mb=viel"], "mem_mb of scan_split is 'viel'"),
        (["--set-resources", "verify:mem_mb=8 GB"], "mem_mb of verify is '8 GB'"),
        (["--set-resources", "verify:mem=viel"], "mem_mb of verify is \"Resource 'mem' with"),
        (["--set-resources", "verify:runtime=0"], "runtime of verify is '0'"),
        (["--default-resources", "runtime="], "runtime of default-resources is ''"),
        (["--set-threads", "scan_split=viele"], "threads of scan_split is 'viele'"),
    ],
)
def test_what_is_no_number_is_refused(
    options: list[str], what: str, snakemake: Callable, tree: Path, tmp_path: Path
) -> None:
    said = snakemake(*options, fails=True, root=tree, extra=tmp_path / "extra").stdout
    assert f"Error: {what}" in said
    assert "not a number above 0. Write it on the command line or in the profile as in" in said


@pytest.mark.needs("snakemake")
def test_numbers_may_be_expressions(snakemake: Callable, tree: Path, tmp_path: Path) -> None:
    """Also those that ask for the files of a job, or are written with a unit."""
    amounts = ["runtime=1.5h", "mem=2GB", "disk_mb=input.size_mb"]
    words = ["--set-resources", *(f"scan_split:{one}" for one in amounts)]
    words += ["verify:runtime=9*attempt", "verify:mem_mb=input.size_mb+1", "--set-threads"]
    snakemake("--dry-run", *words, "verify=1", root=tree, extra=tmp_path / "extra")


def test_a_work_folder_that_vanished_during_a_run_is_named(tmp_path: Path) -> None:
    said = failures(tmp_path / "gone", [])
    assert f"{tmp_path}/gone/.dinov3-metadata/run.lock is gone: during the run" in said


@pytest.mark.needs("snakemake")
def test_a_rule_that_is_misspelt_is_not_ignored(snakemake: Callable, tree: Path) -> None:
    options = ["--set-resources", "scan_spilt:mem_mb=4000", "--set-threads", "train=2"]
    said = snakemake(*options, fails=True, root=tree, extra=tree).stdout
    assert "Error: There is no rule 'scan_spilt'" in said
    assert said.rstrip().endswith("Did you mean 'scan_split'?")


def test_a_rule_of_a_workflow_around_this_one_may_be_called_almost_the_same() -> None:
    around = ["meta_scan_split", "publish_model"]
    check_rules(around, [*STAGES, *around])
    with pytest.raises(MetadataError, match="no rule 'publish_modle'"):
        check_rules(["publish_modle"], [*STAGES, *around])
