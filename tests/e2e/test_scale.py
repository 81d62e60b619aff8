"""Several replicas, one count."""

import requests

from flask_redis_counter.testing import Tally, count, hammer

from .support import under_load, value


def test_three_replicas_and_one_killed_under_load(new_stack):
    """Replicas count without gaps or repeats, and go on when one of them is killed."""
    with new_stack(replicas=3) as stack:
        tally = hammer(stack.url, clients=12, go_on=lambda tally: len(tally.values) < 300)
        tally.check(before=0, after=value(stack))
        assert tally.refused + tally.unknown <= 6, "a whole stack answers"

        before = value(stack)
        clients = 8
        tally = under_load(stack, lambda: stack.kill("web", replica=1), clients=clients)
        tally.check(before=before, after=value(stack))
        missed = tally.refused + tally.unknown
        assert missed <= clients, "more failed than what the replica was working on"

        if stack.kind == "compose":  # HAProxy tells the truth as well
            lie = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}
            page = requests.get(f"{stack.url()}/snippet", headers=lie, timeout=5).text
            assert f"({stack.url()}/counters/visits.svg)" in page
            assert "evil" not in page

            before = value(stack)
            stack.kill("web")
            assert count(stack.url()) == Tally(refused=1)
            stack.start("web")
            stack.wait_ready()
            assert value(stack) == before
