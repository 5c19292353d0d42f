import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cabench.errors import CabenchError
from cabench.metrics import report_labels
from cabench.metrics.reference import matched

SPLIT = np.repeat([0, 1, 2], [50, 30, 20])


def test_n_of_the_split_is_the_split():
    assert np.bincount(report_labels(SPLIT, 100)).tolist() == [50, 30, 20]
    assert np.bincount(report_labels(SPLIT, 300)).tolist() == [150, 90, 60]


def test_other_n_is_in_proportion():
    assert np.bincount(report_labels(SPLIT, 10)).tolist() == [5, 3, 2]
    assert np.bincount(report_labels(SPLIT, 7)).tolist() == [4, 2, 1]  # 3.5, 2.1, 1.4
    assert np.bincount(report_labels(np.repeat(np.arange(10), 1000), 256)).tolist() == (
        [26] * 6 + [25] * 4
    )


@given(st.lists(st.integers(0, 6), min_size=1, max_size=80), st.integers(1, 300))
def test_counts_are_within_one_of_the_share_and_classes_alternate(split, n):
    labels = report_labels(np.array(split), n)
    assert labels.dtype == np.int64 and len(labels) == n
    classes, shares = np.unique(split, return_counts=True)
    for label, count in zip(classes, shares, strict=True):
        share = n * count / len(split)
        assert abs((labels == label).sum() - share) < 1
        for cut in (n // 3, n // 2):  # a prefix holds each class by its share, give or take one
            assert abs((labels[:cut] == label).sum() - cut * count / len(split)) <= len(classes)
    present = np.unique(labels)
    assert set(labels[: len(present)]) == set(present)


def test_depends_on_the_multiset_only():
    shuffled = np.random.RandomState(3).permutation(SPLIT)
    assert np.array_equal(report_labels(shuffled, 33), report_labels(SPLIT, 33))


def test_matched_images_are_distinct_and_have_the_given_labels():
    split = np.random.RandomState(0).permutation(SPLIT)
    labels_of_samples = report_labels(SPLIT, 33)
    chosen = matched(split, labels_of_samples, "here")
    assert len(set(chosen)) == 33
    assert np.array_equal(np.sort(split[chosen]), np.sort(labels_of_samples))
    assert np.array_equal(chosen, matched(split, labels_of_samples[::-1], "here"))


def test_a_split_with_too_few_is_refused():
    with pytest.raises(CabenchError, match=r"report.* need 150 .* label 0, got 50.* 100 samples"):
        matched(SPLIT, report_labels(SPLIT, 300), "split 'report'")
    with pytest.raises(CabenchError, match="label 5, got 0"):
        matched(SPLIT, np.array([5]), "here")
    with pytest.raises(CabenchError, match="at least 1"):
        report_labels(SPLIT, 0)
