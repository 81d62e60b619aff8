"""Sentinels: which answer wins, and what is said if there is none."""

import threading

import pytest

from flask_redis_counter.store import sentinels as module
from flask_redis_counter.store.causes import NoMasterError
from flask_redis_counter.store.sentinels import Sentinels
from flask_redis_counter.testing import wait_until


class Connection:
    """A connection to a Sentinel that gives scripted answers, one of them to each question.

    :param answers: port and epoch of each answer, or an error; the last one is repeated.
    """

    def __init__(self, *answers):
        self._answers = list(answers)
        self._replies = []

    def __call__(self):
        """Stand for the function that makes the connection."""
        return self

    def connect(self):
        """Connect."""

    def disconnect(self):
        """Forget replies that were not read."""
        self._replies = []

    def send_command(self, *command):
        """Take one of the two commands of a question."""
        if command[1] == "GET-MASTER-ADDR-BY-NAME":
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
            if isinstance(answer, Exception):
                raise answer
            port, epoch = answer
            self._replies = [[b"10.0.0.1", b"%d" % port], [b"config-epoch", b"%d" % epoch]]

    def read_response(self):
        """Return the next reply."""
        return self._replies.pop(0)


@pytest.fixture(autouse=True)
def _poll_often(monkeypatch):
    monkeypatch.setattr(module, "POLL_INTERVAL", 0.02)


@pytest.fixture
def make():
    """Make Sentinels, which are stopped after the test."""
    made = []

    def make(*connections):
        names = [f"s{number}:26379" for number in range(len(connections))]
        made.append(Sentinels(connections, names, "counters"))
        return made[-1]

    yield make
    for sentinels in made:
        sentinels.stop()


def test_the_highest_epoch_wins(make):
    """One Sentinel that knows of the last failover outweighs two that do not."""
    sentinels = make(Connection((1, 4)), Connection((2, 5)), Connection((1, 4)))
    assert sentinels.wait_for_masters(5) == [("10.0.0.1", 2), ("10.0.0.1", 1)]


def test_more_votes_win_at_the_same_epoch(make):
    """Of two addresses of the same epoch the one that more Sentinels name comes first."""
    sentinels = make(Connection((1, 4)), Connection((2, 4)), Connection((2, 4)))
    assert sentinels.wait_for_masters(5)[0] == ("10.0.0.1", 2)


def test_a_switch_is_noticed(make):
    """The addresses follow the answers without a question by the caller."""
    sentinels = make(Connection((1, 4), (1, 4), (2, 5)))
    assert sentinels.wait_for_masters(5) == [("10.0.0.1", 1)]
    wait_until(lambda: sentinels.masters() == [("10.0.0.1", 2)], what="the other master")


def test_a_broken_connection_is_not_blamed_on_the_settings(make, monkeypatch):
    """A Sentinel that dies has stopped answering: nothing is said about TLS or the address."""
    noted = []
    note = Sentinels._note

    def record(sentinels, name, answer):
        noted.append((answer.master is not None, answer.problem, answer.remedy))
        note(sentinels, name, answer)

    monkeypatch.setattr(Sentinels, "_note", record)
    make(Connection((1, 4), BrokenPipeError("Broken pipe"))).wait_for_masters(5)
    wait_until(lambda: len(noted) > 2, what="the end of the answers")
    assert noted[:2] == [(True, "", ""), (False, "it has stopped answering", "")]
    assert "rediss+sentinel://" in noted[2][2]  # it never answered on the next connection


def test_no_answer_names_each_sentinel(make):
    """The error groups the Sentinels by their problem."""
    refused = ConnectionRefusedError(111, "Connection refused")
    sentinels = make(Connection(refused), Connection(refused))
    with pytest.raises(NoMasterError, match=r"s0:26379, s1:26379: .*refused") as caught:
        sentinels.wait_for_masters(5)
    assert caught.value.remedy


def test_stopped_sentinels_are_asked_again(make):
    """stop() ends the threads, and the next question starts them."""
    sentinels = make(Connection((1, 4)))
    sentinels.wait_for_masters(5)
    sentinels.stop()
    assert not any("_watch" in thread.name for thread in threading.enumerate())
    assert sentinels.wait_for_masters(5) == [("10.0.0.1", 1)]
    assert any("_watch" in thread.name for thread in threading.enumerate())
