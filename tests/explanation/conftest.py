import numpy as np
import pytest


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
