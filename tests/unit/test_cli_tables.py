"""Tables on a terminal: they fit, break no word, and lose nothing."""

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from greenroom.cli.display_text import text_width
from greenroom.cli.live_screen import render_table
from greenroom.cli.overview import Overview, ServerView
from greenroom.cli.status import overview_printer
from greenroom.cli.table import GAP, Table, column_widths, longest_word, plain_lines, print_table, wrap_cell
from greenroom.testing import MovedClock

words = st.text("abcdefghij_-.", min_size=1, max_size=12)
cells = st.lists(words, min_size=1, max_size=6).map(" ".join)
tables = st.integers(1, 5).flatmap(
    lambda count: st.builds(
        Table,
        st.just("A title"),
        st.tuples(*(words.map(str.upper) for _ in range(count))),
        st.lists(st.tuples(*(cells for _ in range(count))), min_size=1, max_size=4),
        st.just(()),
    )
)


def draw(table: Table, width: int) -> str:
    file = io.StringIO()
    Console(file=file, width=width, height=24).print(render_table(table, width))
    return file.getvalue()


@given(tables, st.integers(30, 130))
def test_no_word_is_broken_or_lost(table: Table, width: int) -> None:
    output = draw(table, width)
    assert all(len(line) <= width for line in output.splitlines())
    shown = output.split()
    for row in table.rows:
        for cell in row:
            for word in cell.split():
                assert cell == "-" or word in shown, (word, output)


@given(tables, st.integers(10, 130))
def test_columns_fit_or_table_becomes_blocks(table: Table, width: int) -> None:
    widths = column_widths(table, width)
    narrowest = [max(longest_word(cell) for cell in column) for column in zip(table.headers, *table.rows, strict=True)]
    gaps = GAP * (len(table.headers) - 1)
    if widths is None:
        assert sum(narrowest) + gaps > width
    else:
        assert sum(widths) + gaps <= width
        assert all(least <= most for least, most in zip(narrowest, widths, strict=True))


def test_path_is_broken_after_its_slashes() -> None:
    assert ["file /srv/data/", "operator.token"] == wrap_cell("file /srv/data/operator.token", 18)
    assert ["/", "a/", "b"] == wrap_cell("/a/b", 1)


def test_wide_table_narrows_widest_column_first() -> None:
    table = Table("", ("TASK", "TEXT"), [("task_1234", "a b c d e f g h i j")])
    assert [9, 19] == column_widths(table, 30)
    assert [9, 9] == column_widths(table, 20)
    assert [9, 4] == column_widths(table, 15)
    assert column_widths(table, 14) is None


def test_too_narrow_terminal_shows_each_row_as_block() -> None:
    table = Table("Open tasks", ("TASK", "ROLE", "TEXT"), [("task_1234567890", "-", "fix the till")])
    assert ["Open tasks", "task_1234567890", "  TEXT fix the", "       till"] == [
        line.rstrip() for line in draw(table, 16).splitlines()
    ]


class TerminalOutput(io.StringIO):
    def isatty(self) -> bool:
        return True


WIDE_TABLE = Table("", ("ROLE", "TEXT", "ID"), [("日本語", "🛠 fix", "1"), ("builder", "a\nb", "2")])


def is_aligned(lines: list[str]) -> bool:
    """Return whether all lines end in the same terminal column."""
    return len({text_width(line) for line in lines}) == 1


def test_columns_stand_in_line_behind_wide_characters() -> None:
    assert is_aligned(plain_lines(WIDE_TABLE)[1:])
    assert is_aligned([line.rstrip() for line in draw(WIDE_TABLE, 60).splitlines()][1:])


def test_watched_status_is_drawn_on_a_terminal() -> None:
    output = TerminalOutput()
    overview = Overview(server=ServerView(url="http://127.0.0.1:1", status="ok"), needs=(), rooms=(), machines=())
    with overview_printer(output, False, MovedClock()) as show:
        show(overview)
    assert "http://127.0.0.1:1" in output.getvalue()


def test_wide_words_are_wrapped_by_their_width() -> None:
    assert ["日本", "日本", "ab"] == wrap_cell("日本 日本 ab", 6)
    assert 4 == longest_word("日本 abc")
    table = Table("", ("A", "TEXT"), [("x", "日本語 日本語 日本語")])
    assert [1, 13] == column_widths(table, 16)


def test_terminal_table_escapes_markup() -> None:
    output = TerminalOutput()

    print_table(output, Table("Tasks", ("ID", "TEXT"), [("task_1", "[bold]x[/bold] \x1b[2J")]))

    text = output.getvalue()
    assert "[bold]x[/bold] \\x1b[2J" in text
    assert "TEXT" in text
