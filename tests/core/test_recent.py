"""The last values used are kept, and no more than may be."""

from hilum.core.recent import Recent


def test_the_one_longest_unused_goes() -> None:
    recent = Recent[str, int](2)
    recent.add("a", 1)
    recent.add("b", 2)
    assert recent.get("a") == 1
    recent.add("c", 3)
    assert [recent.get(key) for key in "abc"] == [1, None, 3]
