"""Builds of a commit are reproducible: the wheel has the same bytes in any folder at any time."""

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
    """Return git's output for the checkout; skip the test without git."""
    try:
        return subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs a git checkout")


def build_wheel(folder, *, age, modes):
    """Build the last commit from files of an age and with modes; return the wheel's digest."""
    archive = tarfile.open(fileobj=io.BytesIO(git("archive", "HEAD")))
    archive.extractall(folder, filter="data")
    commit = int(git("log", "-1", "--format=%ct"))
    for path in (folder, *folder.rglob("*")):
        path.chmod(modes | (0o111 if path.is_dir() else 0))
        os.utime(path, (commit - age, commit - age))
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(folder / "dist"), str(folder)],
        env={**os.environ, "SOURCE_DATE_EPOCH": str(commit)},
        umask=0o022,  # as in the session
        capture_output=True,
        check=True,
    )
    [wheel] = folder.glob("dist/*.whl")
    return digest(wheel)


def digest(path):
    """Return a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_wheel_is_reproducible(tmp_path):
    """The wheel has the same bytes from another folder, with other file times and modes."""
    pytest.importorskip("build")
    wheel = build_wheel(tmp_path / "here", age=0, modes=0o644)
    assert build_wheel(tmp_path / "else" / "where", age=YEAR, modes=0o664) == wheel
    if not git("status", "--porcelain"):
        [ours] = (ROOT / "dist").glob("*.whl")
        assert digest(ours) == wheel, "the session's own wheel differs"
