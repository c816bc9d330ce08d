"""Runs the common tests of Transformers: markers, a seed, the table of what fails on purpose, and a summary."""

from collections import Counter, defaultdict
from pathlib import Path

import pytest
from expectations import CAUSES
from transformers import set_seed

# Of Transformers' tests; `--strict-markers` asks for their names.
_MARKERS = ("accelerate_tests", "flash_attn_test", "flash_attn_3_test", "flash_attn_4_test", "torch_compile_test")
_FOLDER = Path(__file__).parent
_OUTCOMES = ("collected", "passed", "skipped", "xfailed", "failed")


def pytest_configure(config):
    for name in _MARKERS:
        config.addinivalue_line("markers", f"{name}: a marker of Transformers' own tests")


@pytest.fixture(autouse=True)
def seed():
    """The mixins draw inputs and weights at random."""
    set_seed(0)


def _cause_of(item):
    return next((cause for cause in CAUSES if item.cls and cause.covers(item.cls.__name__, item.name)), None)


def pytest_collection_modifyitems(config, items):
    deselected = []
    for item in [item for item in items if item.path.is_relative_to(_FOLDER)]:
        cause = _cause_of(item)
        if cause is None:
            continue
        if cause.outcome == "deselect":
            deselected.append(item)
        else:
            item.add_marker(pytest.mark.xfail(reason=cause.why, strict=True))
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        left_out = set(deselected)
        items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter):
    counts = defaultdict(Counter)
    for outcome in _OUTCOMES[1:]:
        for report in terminalreporter.stats.get(outcome, ()):
            parts = getattr(report, "nodeid", "").split("::")
            if _FOLDER.name in parts[0] and len(parts) == 3 and not hasattr(report, "context"):
                counts[parts[1]].update({outcome: 1, "collected": 1})
    if counts:
        counts["all"] = sum(counts.values(), Counter())
        terminalreporter.section("common tests of Transformers")
        terminalreporter.write_line(f"{'':32}" + "".join(f"{outcome:>11}" for outcome in _OUTCOMES))
        for name, row in counts.items():
            terminalreporter.write_line(f"{name:32}" + "".join(f"{row[outcome]:>11}" for outcome in _OUTCOMES))
