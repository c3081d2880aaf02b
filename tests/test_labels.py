"""Labels as numbers: what task they make, and what is said of those that cannot be learnt."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import MultiLabelBinarizer

from textdae.core.errors import SettingsError
from textdae.downstream.labels import LabelSchema, find_schema, is_missing, named, summarize_labels

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"


def schema_of(raw, kind: str = "auto", names=None, most: int = 1000) -> LabelSchema:
    return find_schema(kind, raw, names, "stars", most)


def complaint(raw, kind: str = "auto", **given) -> str:
    with pytest.raises(SettingsError) as caught:
        schema_of(raw, kind, **given)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix("data.label_column: stars ")


# What task labels make


@pytest.mark.parametrize(
    ("raw", "kind", "classes"),
    [
        (["b", "a", "b"], SINGLE, ("a", "b")),
        ([3, 10, 2, 2], SINGLE, ("2", "3", "10")),
        ([-1, 0, 1], SINGLE, ("-1", "0", "1")),
        ([True, False], SINGLE, ("False", "True")),
        (["10", "9", "1"], SINGLE, ("1", "9", "10")),
        (["b", "10", "a", "9"], SINGLE, ("9", "10", "a", "b")),
        (["nan", "inf", "5"], SINGLE, ("5", "inf", "nan")),
        ([["b"], ["a", "c"], []], MULTI, ("a", "b", "c")),
        ([("b",), ["a"]], MULTI, ("a", "b")),
        ([[10, 9], [1]], MULTI, ("1", "9", "10")),
    ],
)
def test_the_kind_and_the_order_of_the_classes_follow_from_the_labels(raw, kind, classes):
    assert schema_of(raw) == LabelSchema(kind, classes)


@pytest.mark.parametrize(("kind", "raw"), [("single_label", ["a", "b"]), ("multi_label", [["a"], ["b"]])])
def test_asking_for_what_the_labels_are_changes_nothing(kind, raw):
    assert schema_of(raw, kind) == schema_of(raw)


def test_class_names_keep_their_order_also_where_a_class_has_no_example():
    names = ["negative", "positive", "neutral"]
    assert schema_of(["positive", "negative"], names=names).classes == tuple(names)
    assert schema_of([["positive"], []], names=names).classes == tuple(names)


def test_class_names_that_are_not_those_of_the_labels_are_left_aside():
    assert schema_of(["b", "z"], names=["b", "a"]).classes == ("b", "z")


@pytest.mark.parametrize("raw", [[1, 2, 3], ["1", "2.5", " -3e2 "], [True, False], [0.5, 7]])
def test_regression_takes_numbers_however_they_are_written(raw):
    schema = schema_of(raw, "regression")
    assert schema.is_regression
    assert not schema.is_multi_label
    assert len(schema.classes) == 1
    found = schema.encode(raw)
    assert found.dtype == np.float32
    assert found.tolist() == [np.float32(float(label)) for label in raw]


# What cannot be learnt


@pytest.mark.parametrize(
    ("kind", "raw", "says"),
    [
        ("auto", [0.5, 1.0], "holds fractions such as 0.5, which are no classes; data.task=regression"),
        ("single_label", [1, 2.5], "holds fractions such as 2.5"),
        ("auto", ["abc", 0.5], "holds fractions such as 0.5"),
        ("auto", ["1", "2.5"], "holds fractions such as '2.5'"),
        ("auto", [["a"], "b"], "holds lists; data.task=multi_label needs a list in every row"),
        ("auto", ["a", ["b"]], "holds lists; data.task=multi_label needs a list in every row"),
        ("single_label", [["a"], ["b"]], "holds lists;"),
        ("multi_label", ["a", "b"], "holds 'a', but data.task=multi_label needs a list of classes"),
        ("multi_label", [["a"], ["b", 1.5]], "holds 1.5, a float, not a class"),
        ("auto", [b"a", b"b"], "holds b'"),
        ("regression", ["3", "x"], "holds 'x', but data.task=regression needs a finite number"),
        ("regression", [1, float("inf")], "holds inf, but data.task=regression"),
        ("regression", ["nan", 1], "holds 'nan', but data.task=regression"),
        ("regression", [[1]], "holds [1], but data.task=regression"),
        ("auto", ["a", "a"], "has one class only, 'a'"),
        ("auto", [7, 7], "has one class only, '7'"),
        ("auto", [["a"], [], ["a"]], "has one class only, 'a'"),
    ],
)
def test_labels_that_make_no_task_are_refused_with_the_reason(kind, raw, says):
    assert complaint(raw, kind).startswith(says)


@pytest.mark.parametrize("raw", [list(range(12)), [str(n) for n in range(12)], [list(range(12))]])
def test_too_many_numbers_are_taken_for_a_regression_that_was_not_asked_for(raw):
    said = complaint(raw, most=11)
    assert said.startswith(f"has 12 different values in {len(raw)} examples, which are hardly classes")
    assert "data.task=regression learns them as numbers" in said
    assert said.endswith("data.max_classes=12")
    assert len(schema_of(raw, most=12).classes) == 12


def test_of_too_many_names_regression_is_not_spoken_of():
    said = complaint([f"name {n}" for n in range(1500)])
    assert said.startswith("has 1,500 different values in 1,500 examples")
    assert "regression" not in said
    assert said.endswith("data.max_classes=1500")


# Labels as numbers

SEVERAL_NAMES = st.lists(st.text(min_size=1, max_size=4), min_size=2).filter(lambda raw: len(set(raw)) > 1)
SEVERAL_INTEGERS = st.lists(st.integers(-30, 30), min_size=2).filter(lambda raw: len(set(raw)) > 1)


@given(raw=SEVERAL_NAMES | SEVERAL_INTEGERS)
def test_the_number_of_a_label_stands_for_it(raw):
    schema = schema_of(raw)
    numbers = schema.encode(raw)
    assert numbers.dtype == np.int64
    assert [schema.classes[number] for number in numbers] == [str(label) for label in raw]
    assert set(numbers.tolist()) == set(range(len(set(raw))))


@given(raw=SEVERAL_INTEGERS)
def test_integers_are_numbered_in_their_own_order_also_as_a_csv_has_them(raw):
    rank = {label: index for index, label in enumerate(sorted(set(raw)))}
    for labels in (raw, [str(label) for label in raw]):
        assert schema_of(labels).encode(labels).tolist() == [rank[label] for label in raw]


@given(raw=st.lists(st.lists(st.sampled_from("abcde"), max_size=6), min_size=1))
def test_several_labels_are_what_scikit_learn_makes_of_them(raw):
    seen = {label for labels in raw for label in labels}
    raw = [*raw, sorted(seen | {"a", "z"})]
    reference = MultiLabelBinarizer()
    expected = reference.fit_transform(raw)
    schema = schema_of(raw)
    assert schema.classes == tuple(reference.classes_)
    found = schema.encode(raw)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


def test_a_class_that_training_never_saw_has_no_number():
    assert schema_of(["a", "b"]).encode(["b", "z", "a"]).tolist() == [1, -1, 0]
    assert schema_of([["a"], ["b"]]).encode([["z"], ["b", "z"]]).tolist() == [[0, 0], [0, 1]]


# Names and missing labels


@given(label=st.integers(-5, 8))
def test_a_number_stands_for_its_name_or_for_nothing(label):
    names = ["zero", "one", "two"]
    expected = dict(enumerate(names)).get(label)
    assert named(label, names) == expected
    kept = [] if expected is None else [expected]
    assert named([label, 1], names) == [*kept, "one"]
    assert named((label,), names) == kept
    assert named(label, None) == label


@pytest.mark.parametrize("label", ["one", "", None, True, 0.5])
def test_what_is_no_number_of_a_class_stays_as_it_is(label):
    assert named(label, ["zero", "one"]) is label


@pytest.mark.parametrize(
    ("label", "missing"),
    [
        (None, True),
        ("", True),
        (" \t\n", True),
        (float("nan"), True),
        ("a", False),
        (0, False),
        (0.0, False),
        (False, False),
        ([], False),
        (float("inf"), False),
    ],
)
def test_nothing_and_blanks_and_not_a_number_are_no_labels(label, missing):
    assert is_missing(label) is missing


# What a reader should know


def remarks_on(raw, classes=None, **others) -> list[str]:
    schema = schema_of(raw, names=classes)
    return summarize_labels(
        schema, schema.encode(raw), {side: (seen, schema.encode(seen)) for side, seen in others.items()}
    )


def test_plenty_of_every_class_needs_no_remark():
    assert remarks_on(["a", "b"] * 2, held_out=["a"], test=["b", "b"]) == []
    assert remarks_on([["a", "b"], ["b", "a"]], test=[["a"], []]) == []


def test_classes_with_hardly_an_example_are_named():
    names = ["never", "once", "often", "hardly"]
    assert remarks_on(["often", "once", "often", "hardly"], names) == [
        "classes with no training example: 1 (never)",
        "classes with one training example: 2 (once, hardly)",
    ]
    assert remarks_on([["often", "once"], ["often"], ["hardly"]], names) == [
        "classes with no training example: 1 (never)",
        "classes with one training example: 2 (once, hardly)",
    ]


def test_of_many_rare_classes_five_are_named():
    (line,) = remarks_on([f"c{n}" for n in range(9)])
    assert line == "classes with one training example: 9 (c0, c1, c2, c3, c4, ...)"


def test_labels_that_training_never_saw_are_counted_side_by_side():
    raw = ["a", "a", "b", "b"]
    held_out, test = remarks_on(raw, held_out=["a", "z"], test=["z", "y", "b", "z"])
    assert held_out.startswith("held_out: 1 labels of classes unseen in training (z)")
    assert test.startswith("test: 3 labels of classes unseen in training (z, y)")


def test_of_lists_each_unseen_label_counts():
    (line,) = remarks_on([["a", "b"], ["b", "a"]], test=[["z", "a"], ["y", "z"], []])
    assert line.startswith("test: 3 labels of classes unseen in training (z, y)")


def test_numbers_to_predict_have_no_rare_classes():
    schema = schema_of([1, 2], "regression")
    assert summarize_labels(schema, schema.encode([1, 2]), {"test": ([3], schema.encode([3]))}) == []


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ([[], []], "empty lists only"),
        ([{"a": 1}, {"b": 2}], "a dict, not a class"),
        ([[["a"]], ["b"]], "a list, not a class"),
        ([[0.0], ["a"]], "a float, not a class"),
    ],
)
def test_what_is_no_class_is_said(raw, problem):
    with pytest.raises(SettingsError, match=problem):
        find_schema("auto", raw, None, "label", 1000)


def test_huge_numbers_are_classes_but_nothing_to_predict():
    assert find_schema("auto", [10**400, 1], None, "label", 1000).classes == ("1", str(10**400))
    for huge in (10**400, 1e300):
        with pytest.raises(SettingsError, match="needs a finite number"):
            find_schema("regression", [huge, 1], None, "label", 1000)


def test_the_order_of_classes_depends_on_nothing_else():
    assert find_schema("auto", ["1.0", "01", "1"], None, "label", 1000).classes == ("01", "1", "1.0")
    assert find_schema("auto", [1, "1", "2"], None, "label", 1000).classes == ("1", "2")


def test_nothing_in_a_list_is_no_class():
    assert named([-1, 0, 1], ["x", "y"]) == ["x", "y"]
    assert named(["a", None, " "], None) == ["a"]


@pytest.mark.parametrize("kind", ["auto", "single_label"])
def test_whole_numbers_written_as_floats_are_classes(kind):
    raw = [named(label, None) for label in (0.0, 1.0, 10.0, 2.0)]
    schema = find_schema(kind, raw, None, "label", 1000)
    assert schema == LabelSchema(SINGLE, ("0", "1", "2", "10"))
    assert schema.encode(raw).tolist() == [0, 1, 3, 2]
    several = [named(label, None) for label in ([0.0], [1.0, 0.0])]
    assert find_schema("auto", several, None, "label", 1000).classes == ("0", "1")
    assert named(1.0, ["no", "yes"]) == "yes"
    with pytest.raises(SettingsError, match=r"fractions such as 0\.5"):
        find_schema(kind, [named(label, None) for label in (0.0, 0.5)], None, "label", 1000)
    assert find_schema("regression", raw, None, "label", 1000).encode(raw).tolist() == [0, 1, 10, 2]
