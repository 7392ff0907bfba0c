from hypothesis import given
from hypothesis import strategies as st

from nufitdose.errors import InputError
from nufitdose.io.csv_table import write_csv
from nufitdose.printable import is_printable, one_line, printable, without_formula

ANY = st.text(st.characters(), max_size=60)  # halves of surrogate pairs among them


@given(ANY)
def test_what_is_shown_is_printable_and_can_be_written(text):
    assert is_printable(printable(text))
    assert is_printable(one_line(text))
    printable(text).encode("utf-8")


@given(st.text(st.sampled_from("abc äöü=/'<>"), max_size=60))
def test_plain_text_stays(text):
    assert printable(text) == text


def test_a_message_is_short_whatever_a_file_said():
    text = str(InputError("x" * 10**6 + "\x1b[31m", where="y" * 10**5))
    assert len(text) < 3000
    assert "\x1b" not in text


@given(st.sampled_from("=+-@"), ANY)
def test_no_text_of_a_table_is_a_formula(sign, rest):
    assert without_formula(sign + rest).startswith("'")


def test_numbers_of_a_table_stay_numbers(tmp_path):
    write_csv(tmp_path / "t.csv", ["name", "value"], [{"name": "=1+1\x1b", "value": -2.5}])
    assert (tmp_path / "t.csv").read_text(encoding="utf-8").splitlines()[1] == r"'=1+1\x1b,-2.5"
