"""Tables of result rows: lines by name, columns by unit, controls where they belong; the blocks of a page."""

import pytest

from embodia.scripts.bench.harness import results, tables
from embodia.scripts.bench.harness.results import Row
from embodia.scripts.mistake import Mistake


def number(name, value, unit="success", **more):
    return Row(name, value, value - 0.1, value + 0.1, 3, unit=unit, **more)


def test_names_are_lines_and_units_columns():
    rows = [number("a", 0.5, "x", cpu_minutes=1.25), number("a", 0.7, "y"), number("b", 0.2, "y", paper=0.3)]
    (table,) = tables.tables(rows)
    assert table == [
        ["", "x", "y", "seeds", "CPU minutes"],
        ["a", "0.50 [0.40, 0.60]", "0.70 [0.60, 0.80]", "3", "1.2"],
        ["b", "", "0.20 [0.10, 0.30] (paper 0.3)", "3", ""],
    ]


def test_other_units_and_other_groups_have_tables_of_their_own():
    names = [("a", "x"), ("b", "y"), ("grid: c", "y"), ("grid: d", "y"), ("homes: e", "y")]
    found = list(tables.tables([number(name, 0.5, unit) for name, unit in names]))
    assert [[line[0] for line in table] for table in found] == [
        ["", "a"],
        ["", "b"],
        ["grid", "c", "d"],
        ["homes", "e"],
    ]


def test_a_control_of_one_number_stands_beside_and_one_that_all_share_comes_last():
    shared, own = number("pixels", 0.1), number("random", 0.2)
    (table,) = tables.tables([number("a", 0.5, controls=(own, shared)), number("b", 0.6, controls=(shared,))])
    assert [line[0] for line in table] == ["", "a", "b", "*pixels*"]
    assert [line[2] for line in table] == ["controls", "random 0.20 [0.10, 0.30]", "", ""]


def test_controls_of_several_numbers_have_lines():
    rows = [number("a", 0.5, unit, controls=(number("random", 0.2, unit),)) for unit in ("x", "y")]
    (table,) = tables.tables([*rows, number("b", 0.4, "x")])
    assert [line[0] for line in table] == ["", "a", "*random*", "b"]
    assert table[2][1:3] == ["0.20 [0.10, 0.30]"] * 2


def test_shared_controls_may_have_more_numbers_beside_some_lines():
    pixels = {unit: number("pixels", 0.1, unit) for unit in ("x", "y")}
    rows = [number("a", 0.5, unit, controls=(pixels[unit],)) for unit in ("x", "y")]
    (table,) = tables.tables([*rows, number("b", 0.4, "x", controls=(pixels["x"],))])
    assert [line[0] for line in table] == ["", "a", "b", "*pixels*"]
    assert table[-1][1:3] == ["0.10 [0.00, 0.20]"] * 2


def test_a_number_without_an_interval_stands_alone():
    assert tables.spelled(Row("x", 0.12345, 0.12345, 0.12345, 1)) == "0.123"
    assert tables.spelled(Row("x", 14800.4, 14800.4, 14800.4, 1)) == "14,800"


def test_a_page_is_filled_between_its_markers(tmp_path):
    origin = results.provenance("some", "embodia bench some")
    results.write(results.result(origin, [number("a", 0.5, "x"), number("b", 0.6, "y")]), tmp_path)
    page = (
        "before\n<!-- results: some: y -->\nold\n<!-- end -->\nbetween\n<!-- results: other -->\n<!-- end -->\nafter\n"
    )
    filled = tables.filled(page, tmp_path)
    assert filled.splitlines() == [
        "before",
        "<!-- results: some: y -->",
        "|  | y | seeds | CPU minutes |",
        "| --- | --- | --- | --- |",
        "| b | 0.60 [0.50, 0.70] | 3 |  |",
        "<!-- end -->",
        "between",
        "<!-- results: other -->",
        "No result file yet.",
        "<!-- end -->",
        "after",
    ]
    assert tables.filled(filled, tmp_path) == filled
    with pytest.raises(Mistake, match=r"some\.json has no row whose name or unit contains 'z'"):
        tables.filled(page.replace("some: y", "some: z"), tmp_path)


def test_tables_need_a_checkout(tmp_path):
    with pytest.raises(Mistake, match="from a checkout"):
        tables.rewrite(tmp_path)
