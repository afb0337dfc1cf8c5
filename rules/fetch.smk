# Bring the files beside a Snakefile that comes from a git repository. Snakemake fetches single files,
# but it has the whole clone. The files are those of the same commit, so rules and code belong together.

import os
import shutil
import sys
import tempfile
import zipfile

from git import Repo
from snakemake.sourcecache import HostingProviderFile, LocalGitFile

if isinstance(HOUSE, HostingProviderFile):
    HOUSE.fetch_if_required()
    clone = HOUSE.hosted_repo.repo
elif isinstance(HOUSE, LocalGitFile):
    clone = Repo(HOUSE.repo_path)
else:
    sys.exit(
        f"Error: {HOUSE} is not in a git repository. Name the Snakefile of the module by a path, "
        "github(...), gitlab(...) or git+file://."
    )
commit = clone.commit(HOUSE.ref)
fetched = workflow.sourcecache.cache_path / "dinov3-metadata" / commit.hexsha
if not fetched.exists():
    fetched.parent.mkdir(parents=True, exist_ok=True)
    new = tempfile.mkdtemp(dir=fetched.parent)
    with tempfile.TemporaryFile() as archive:
        names = ["Snakefile", "config.yaml", "envs", "rules", "workflow"]
        clone.archive(archive, commit.hexsha, format="zip", path=names)
        zipfile.ZipFile(archive).extractall(new)
    try:
        os.rename(new, fetched)
    except OSError:  # another run was faster
        shutil.rmtree(new)
HOUSE = str(fetched)
