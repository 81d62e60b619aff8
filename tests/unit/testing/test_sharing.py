"""Processes share the stacks of the same Compose project, and the last one removes them."""

import pytest

from flask_redis_counter.testing import StackError
from flask_redis_counter.testing.stacks.sharing import SharedStacks, remove_abandoned


class Engine:
    """Records what is done to its stacks, which have different fingerprints."""

    def __init__(self):
        self.done = []
        self.fails = ()

    def maker(self, fingerprint):
        """Return a factory for stacks with a fingerprint."""
        return lambda project: FakeStack(self, fingerprint, project)


class FakeStack:
    """A stack of an :class:`Engine`."""

    def __init__(self, engine, fingerprint, project):
        self.project = project
        self.command = ["compose", project]
        self._engine = engine
        self._fingerprint = fingerprint

    def _do(self, what):
        self._engine.done.append(f"{what} {self.project}")
        if what in self._engine.fails:
            raise StackError(f"no {what}")

    def fingerprint(self):
        """Return the fingerprint."""
        return self._fingerprint

    def up(self):
        """Start it, or fail."""
        self._do("up")

    def down(self, *, volumes):
        """Remove it, or fail."""
        assert volumes
        self._do("down")

    def leftovers(self):
        """Return nothing."""
        return []


@pytest.fixture
def engine():
    """An engine without stacks."""
    return Engine()


def test_processes_share_a_stack(engine, tmp_path):
    """The first process chooses the name and starts it; the last one removes it."""
    first, second = SharedStacks(tmp_path), SharedStacks(tmp_path)
    assert first.acquire(engine.maker("shop"), "one").project == "one"
    assert second.acquire(engine.maker("shop"), "two").project == "one"
    first.release()
    assert engine.done == ["up one"]
    second.release()
    assert engine.done == ["up one", "down one"]


def test_process_holds_one_stack_at_a_time(engine, tmp_path):
    """acquire() of another stack removes the previous one first."""
    stacks = SharedStacks(tmp_path)
    for fingerprint in ("shop", "shop", "blog", "shop"):
        stacks.acquire(engine.maker(fingerprint), "one")
    assert engine.done == ["up one", "down one", "up one", "down one", "up one"]


def test_two_stacks_at_once_have_two_names(engine, tmp_path):
    """With one name Compose would replace the first stack."""
    first, second = SharedStacks(tmp_path), SharedStacks(tmp_path)
    first.acquire(engine.maker("shop"), "same")
    assert second.acquire(engine.maker("blog"), "same").project == "same-2"


def test_kept_stack_keeps_its_name(engine, tmp_path):
    """Another stack gets another name; the first one is found again."""
    stacks = SharedStacks(tmp_path, keep=True)
    projects = [
        stacks.acquire(engine.maker(fingerprint), "same").project
        for fingerprint in ("shop", "blog", "shop")
    ]
    stacks.release()
    assert projects == ["same", "same-2", "same"]
    assert not any(done.startswith("down") for done in engine.done)


def test_acquire_removes_stack_that_does_not_come_up(engine, tmp_path):
    """The next call tries again."""
    engine.fails = ("up",)
    stacks = SharedStacks(tmp_path)
    with pytest.raises(StackError, match="no up"):
        stacks.acquire(engine.maker("shop"), "one")
    engine.fails = ()
    stacks.acquire(engine.maker("shop"), "one")
    assert engine.done == ["up one", "down one", "up one"]


def test_acquire_error_has_note_if_stack_is_not_removed(engine, tmp_path):
    """The error of up() is raised, with the error of down() as a note."""
    engine.fails = ("up", "down")
    with pytest.raises(StackError, match="no up") as raised:
        SharedStacks(tmp_path).acquire(engine.maker("shop"), "one")
    assert raised.value.__notes__ == [
        "the incomplete stack could not be removed: no down",
    ]


def test_remove_abandoned_removes_stack_that_was_not_removed(engine, tmp_path, monkeypatch):
    """It uses the command line that the process had."""
    stacks = SharedStacks(tmp_path)
    stacks.acquire(engine.maker("shop"), "one")
    engine.fails = ("down",)
    with pytest.raises(StackError, match="no down"):
        stacks.release()
    removed = []
    monkeypatch.setattr(
        "flask_redis_counter.testing.stacks.sharing._remove",
        lambda stack: removed.append(stack.command),
    )
    assert remove_abandoned(tmp_path) == ["one"]
    assert removed == [["compose", "one"]]
    assert remove_abandoned(tmp_path) == []
