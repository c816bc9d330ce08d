import threading

import pytest
import torch

from farl_hf.pipelines.inputs import Prefetched

WAIT_S = 10


def test_items_come_in_order_and_more_than_once():
    items = Prefetched(range(20), 3)
    assert list(items) == list(range(20))
    assert list(items) == list(range(20))


def test_the_next_item_is_made_while_the_present_one_is_used():
    made = [threading.Event() for _ in range(3)]

    def photos():
        for event in made:
            event.set()
            yield event

    items = iter(Prefetched(photos(), 1))
    next(items)
    assert made[1].wait(WAIT_S)  # although nobody asked for it yet


def test_no_more_than_allowed_wait():
    made = []

    def photos():
        for index in range(100):
            made.append(index)
            yield index

    for used, _ in enumerate(Prefetched(photos(), 2), start=1):
        assert len(made) <= used + 3  # two wait, and one is in the maker's hand


def test_errors_are_raised_in_their_place():
    def photos():
        yield 1
        raise ValueError("broken photo")

    items = iter(Prefetched(photos(), 4))
    assert next(items) == 1
    with pytest.raises(ValueError, match="broken photo"):
        next(items)


def test_a_caller_who_stops_early_stops_the_thread():
    before = threading.active_count()
    for _ in Prefetched(iter(int, 1), 2):
        assert threading.active_count() == before + 1
        break
    assert threading.active_count() == before


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_the_thread_has_the_callers_gradient_mode(mode):
    def modes():
        yield torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    with mode():
        assert list(Prefetched(modes(), 1)) == list(modes())


def test_pipelines_prepare_the_next_photo_while_the_network_runs(load_pipeline, photo_with):
    second_asked = threading.Event()

    def find_none_twice(photo, **detection):
        if photo.width == 90:
            second_asked.set()
        return []

    run = load_pipeline("face-parsing", detector=find_none_twice)
    forward, seen = run.forward, []

    def slow_forward(chunk, **settings):
        seen.append(second_asked.wait(WAIT_S))
        return forward(chunk, **settings)

    run.forward = slow_forward
    assert run([photo_with(0, (80, 60)), photo_with(0, (90, 60))]) == [[], []]
    assert seen[0]
