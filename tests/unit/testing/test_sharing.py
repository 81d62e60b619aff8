"""Processes share the stacks of the same Compose project, and the last one removes each."""

import pytest

from flask_redis_counter.testing import StackError
from flask_redis_counter.testing.stacks.sharing import SharedStacks, remove_abandoned


class Engine:
    """What runs, and what was done; makes stacks that are told apart by their fingerprint."""

    def __init__(self):
        self.done = []
        self.fails = ()

    def maker(self, fingerprint):
        """Return what makes stacks of one Compose project."""
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
        """Say which it is."""
        return self._fingerprint

    def up(self):
        """Come up, or not."""
        self._do("up")

    def down(self, *, volumes):
        """Go away, or not."""
        assert volumes
        self._do("down")

    def leftovers(self):
        """Leave nothing."""
        return []


@pytest.fixture
def engine():
    """An engine that runs nothing yet."""
    return Engine()


def test_processes_share_a_stack(engine, tmp_path):
    """The first starts it under its own name, and the last removes it."""
    first, second = SharedStacks(tmp_path), SharedStacks(tmp_path)
    assert first.acquire(engine.maker("shop"), "one").project == "one"
    assert second.acquire(engine.maker("shop"), "two").project == "one"
    first.release()
    assert engine.done == ["up one"]
    second.release()
    assert engine.done == ["up one", "down one"]


def test_a_process_uses_one_stack_at_a_time(engine, tmp_path):
    """The next one begins when the last has gone, unless it is the same."""
    stacks = SharedStacks(tmp_path)
    for fingerprint in ("shop", "shop", "blog", "shop"):
        stacks.acquire(engine.maker(fingerprint), "one")
    assert engine.done == ["up one", "down one", "up one", "down one", "up one"]


def test_two_stacks_at_once_have_two_names(engine, tmp_path):
    """Under one name Compose would put the one in the place of the other."""
    first, second = SharedStacks(tmp_path), SharedStacks(tmp_path)
    first.acquire(engine.maker("shop"), "same")
    assert second.acquire(engine.maker("blog"), "same").project == "same-2"


def test_a_kept_stack_keeps_its_name(engine, tmp_path):
    """Another one gets another, and who comes back finds the first."""
    stacks = SharedStacks(tmp_path, keep=True)
    projects = [
        stacks.acquire(engine.maker(fingerprint), "same").project
        for fingerprint in ("shop", "blog", "shop")
    ]
    stacks.release()
    assert projects == ["same", "same-2", "same"]
    assert not any(done.startswith("down") for done in engine.done)


def test_what_does_not_come_up_is_removed(engine, tmp_path):
    """The next test, or process, tries again."""
    engine.fails = ("up",)
    stacks = SharedStacks(tmp_path)
    with pytest.raises(StackError, match="no up"):
        stacks.acquire(engine.maker("shop"), "one")
    engine.fails = ()
    stacks.acquire(engine.maker("shop"), "one")
    assert engine.done == ["up one", "down one", "up one"]


def test_what_cannot_be_removed_does_not_hide_why_it_is_not_up(engine, tmp_path):
    """The error has a note, and the end of the run tries again."""
    engine.fails = ("up", "down")
    with pytest.raises(StackError, match="no up") as raised:
        SharedStacks(tmp_path).acquire(engine.maker("shop"), "one")
    assert raised.value.__notes__ == [
        "the incomplete stack could not be removed: no down",
    ]


def test_what_cannot_be_removed_stays_known(engine, tmp_path, monkeypatch):
    """The end of the run removes it, with the command that the process had."""
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
