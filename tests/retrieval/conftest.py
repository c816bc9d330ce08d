import pytest
from two_tower_toys import make_clip, make_farl

MAKERS = {"farl": make_farl, "clip": make_clip}


@pytest.fixture(scope="session")
def farl():
    return make_farl()


@pytest.fixture(scope="session", params=sorted(MAKERS))
def two_towers(request):
    return MAKERS[request.param]()
