"""Slot files of metrics: claims of processes that start at the same time."""

import threading
from concurrent.futures import ThreadPoolExecutor

from flask_redis_counter.counting.metrics_slots import SlotFolder


def test_processes_that_start_together_have_a_slot_each(tmp_path):
    """No claim takes or removes the file of another one, at whatever moment it looks."""
    for round_ in range(100):
        folder = tmp_path / str(round_)
        barrier = threading.Barrier(8)

        def claim(folder=folder, barrier=barrier):
            barrier.wait()
            return SlotFolder(folder, "service", 64).claim()  # flock tells open files apart

        with ThreadPoolExecutor(8) as pool:
            slots = [each.result() for each in [pool.submit(claim) for _ in range(8)]]
        assert len({slot.path for slot in slots}) == 8
        assert not any(slot.is_lost() for slot in slots)
        assert len(list(folder.iterdir())) == 8
