from nufitdose.profiling import profiled


def spend() -> int:
    return sum(n * n for n in range(20000))


def test_the_function_that_took_the_time_is_named(tmp_path):
    with profiled(tmp_path / "profile.txt"):
        spend()
    text = (tmp_path / "profile.txt").read_text()
    assert "spend" in text
    assert str(tmp_path.parent) not in text
    with profiled(None):
        spend()
    assert [path.name for path in tmp_path.iterdir()] == ["profile.txt"]
