"""The runner of pages itself: it finds what differs, and writes anew without losing what is elided."""

from __future__ import annotations

from pathlib import Path

import pages
import pytest

PAGE = """Words.

```console
$ mnist --version
mnist …
$ echo one \\
> two
one two
```

```pycon
>>> names = ["a", "b"]
>>> for name in names:
...     print(name)
a
b
>>> len(names)
2
```

```sh
this is not run
```
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    return path


def test_a_page_that_is_right(page: Path) -> None:
    assert pages.run_page(page, renew=False) == []
    assert [step.source for step in pages.steps(PAGE)] == [
        "mnist --version",
        "echo one \\\ntwo",
        'names = ["a", "b"]',
        "for name in names:\n    print(name)",
        "len(names)",
    ]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("mnist …", "mnist 0.0.…"), ("one two\n", ""), ("a\nb\n", "b\na\n"), ("2\n", "2\n3\n")],
)
def test_what_differs_is_found_and_renewed(page: Path, right: str, wrong: str) -> None:
    page.write_text(PAGE.replace(right, wrong, 1))
    assert len(pages.run_page(page, renew=False)) == 1
    pages.run_page(page, renew=True)
    renewed = page.read_text()
    assert pages.run_page(page, renew=False) == []
    if right != "mnist …":  # the program's real version stands there now
        assert renewed == PAGE


def test_a_block_with_a_title_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        '```python title="net.py"\nwide = 3\n```\n\n```console\n$ cat net.py\nwide = 3\n```\n'
    )
    assert pages.run_page(page, renew=False) == []
    page.write_text(page.read_text().replace("\nwide = 3\n```\n\n", "\nwide = 4\n```\n\n"))
    assert len(pages.run_page(page, renew=False)) == 1


def test_a_block_in_a_list_is_refused(page: Path) -> None:
    """It would be shown as code and never run."""
    page.write_text("1. Two:\n\n   ```pycon\n   >>> 1 + 1\n   3\n   ```\n")
    with pytest.raises(AssertionError, match="line 3: would not be run"):
        pages.run_page(page, renew=False)


def test_a_command_that_fails_has_to_say_so(page: Path) -> None:
    page.write_text("```console\n$ mnist train --epochs none\n```\n")
    with pytest.raises(AssertionError, match="ends with 2"):
        pages.run_page(page, renew=False)
    page.write_text("```console fails=2\n$ mnist train --epochs none\nerror: …\n…\n```\n")
    assert pages.run_page(page, renew=False) == []


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (["a"], ["a"], True),
        (["a"], ["b"], False),
        (["a  b"], ["a b"], False),
        (["took … s"], ["took 12.5 s"], True),
        (["took … s"], ["took 12.5 ms"], False),
        (["1   0.5…  x"], ["1 0.512     x"], True),
        (["first", "…"], ["first"], True),
        (["…", "last"], ["one", "two", "last"], True),
        (["…", "last"], ["one", "last", "more"], False),
        (["a.c"], ["abc"], False),
        ([], ["said"], False),
    ],
)
def test_what_stands_for_what(shown: list[str], printed: list[str], same: bool) -> None:
    assert pages.matches(shown, printed) == same


def test_elided_lines_live_on_around_what_is_new() -> None:
    shown = ["start", "…", "seconds … s", "old", "end"]
    printed = ["start", "x", "y", "seconds 3 s", "new", "end"]
    assert pages.renewed(shown, printed) == ["start", "…", "seconds … s", "new", "end"]
