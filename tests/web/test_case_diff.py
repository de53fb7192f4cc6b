"""The difference of two versions of a case: what a reader sees of each kind of change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.web.case_diff import compare, words

pytestmark = pytest.mark.unit

LABELS = {"steps": "Steps", "step": "Step", "expectedResult": "Expected result", "priority": "Priority"}


def told(pieces):
    signs = {"same": " ", "removed": "-", "added": "+"}
    return [signs[piece.mark] + piece.text for piece in pieces]


def case(**parts):
    return {"title": "Log in", "fields": {}, "tags": [], "environments": [], **parts}


def steps(*texts):
    return case(fields={"steps": [{"step": text} for text in texts]})


def test_versions_that_are_the_same_differ_in_nothing():
    assert compare(steps("Open"), steps("Open"), LABELS) == []


def test_words_show_only_what_changed():
    [change] = compare(case(title="Log in with a password"), case(title="Log in with a passkey"), LABELS)
    assert change.label == "Title"
    assert told(change.pieces) == [" Log in with a ", "-password", "+passkey"]


def test_a_tag_that_only_got_another_name_is_no_change():
    before, after = case(tags=[{"id": 1, "name": "smoke"}]), case(tags=[{"id": 1, "name": "Smoke"}])
    assert compare(before, after, LABELS) == []


def test_listed_names_and_values_are_told():
    [change] = compare(
        case(tags=[{"id": 1, "name": "smoke"}]),
        case(tags=[{"id": 1, "name": "smoke"}, {"id": 2, "name": "ui"}]),
        LABELS,
    )
    assert told(change.pieces) == [" smoke", "+, ui"]
    [change] = compare(case(fields={"priority": "High"}), case(), LABELS)
    assert (change.label, told(change.pieces)) == ("Priority", ["-High"])


def test_a_step_that_is_put_in_leaves_the_others_alone():
    [change] = compare(steps("Open the page", "Sign in"), steps("Open the page", "Wait", "Sign in"), LABELS)
    [step] = change.steps
    assert (step.before, step.after) == (None, 2)
    assert told(step.parts[0][1]) == ["+Wait"]


def test_a_changed_step_is_aligned_with_what_it_was():
    [change] = compare(
        steps("Open the page", "Enter a wrong password", "Look"),
        steps("Open the page", "Clear the cache", "Enter a very wrong password", "Look"),
        LABELS,
    )
    added, changed = change.steps
    assert (added.before, added.after) == (None, 2)
    assert (changed.before, changed.after) == (2, 3)
    assert told(changed.parts[0][1]) == [" Enter a ", "+very ", " wrong password"]


def test_removed_steps_are_told():
    [change] = compare(steps("One", "Two"), case(), LABELS)
    assert [(step.before, step.after) for step in change.steps] == [(1, None), (2, None)]


TEXTS = st.text("ab c\n", max_size=60)


@given(TEXTS, TEXTS)
def test_the_pieces_make_up_both_texts(before, after):
    pieces = list(words(before, after))
    assert "".join(piece.text for piece in pieces if piece.mark != "added") == before
    assert "".join(piece.text for piece in pieces if piece.mark != "removed") == after


def test_texts_too_long_for_words_are_compared_by_line_and_then_as_a_whole():
    lines = [f"line {n} of many\n" for n in range(900)]
    pieces = list(words("".join(lines), "".join([*lines[:450], "new\n", *lines[450:]])))
    assert [piece.text for piece in pieces if piece.mark == "added"] == ["new\n"]
    marks = [piece.mark for piece in words("a\n" * 3000, "b\n" * 3000)]
    assert marks == ["removed", "added"]


@given(st.lists(st.sampled_from(["One", "Two steps", "Three small steps"])), st.lists(st.sampled_from(["One", "Four"])))
def test_every_step_that_was_and_is_now_is_accounted_for(before, after):
    changes = compare(steps(*before), steps(*after), LABELS)
    told_of = [step for change in changes for step in change.steps]
    assert len({step.before for step in told_of if step.before}) == sum(step.before is not None for step in told_of)
    assert len(before) - len(after) == sum(s.after is None for s in told_of) - sum(s.before is None for s in told_of)
