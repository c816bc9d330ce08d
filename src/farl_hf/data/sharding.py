"""How the photos of a split are cut into jobs for `num_proc` and for streaming workers."""

__all__ = ["index_ranges"]

_PHOTOS_PER_SHARD = 250


def index_ranges(first: int, count: int) -> list[tuple[int, int]]:
    """Half-open ranges that cover `first … first + count`, at least eight where there are as many photos."""
    size = max(1, min(_PHOTOS_PER_SHARD, -(-count // 8)))
    return [(start, min(start + size, first + count)) for start in range(first, first + count, size)]
