"""The same commit makes the same wheel, whoever builds it, wherever and whenever."""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
YEAR = 365 * 24 * 3600


def git(*arguments):
    """Return what git prints of the checkout."""
    try:
        return subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs a checkout of git's")


def built(folder, *, age, modes):
    """Return the digest of the wheel of the last commit, built from files of some age and modes."""
    archive = tarfile.open(fileobj=io.BytesIO(git("archive", "HEAD")))
    archive.extractall(folder, filter="data")
    commit = int(git("log", "-1", "--format=%ct"))
    for path in (folder, *folder.rglob("*")):
        path.chmod(modes | (0o111 if path.is_dir() else 0))
        os.utime(path, (commit - age, commit - age))
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(folder / "dist"), str(folder)],
        env={**os.environ, "SOURCE_DATE_EPOCH": str(commit)},
        umask=0o022,  # as the session has it
        capture_output=True,
        check=True,
    )
    [wheel] = folder.glob("dist/*.whl")
    return digest(wheel)


def digest(path):
    """Return a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_commit_makes_one_wheel(tmp_path):
    """From another folder, from files of another age and with other permissions: the same bytes."""
    pytest.importorskip("build")
    wheel = built(tmp_path / "here", age=0, modes=0o644)
    assert built(tmp_path / "else" / "where", age=YEAR, modes=0o664) == wheel
    if not git("status", "--porcelain"):
        [ours] = (ROOT / "dist").glob("*.whl")
        assert digest(ours) == wheel, "the session's own wheel is another one"
