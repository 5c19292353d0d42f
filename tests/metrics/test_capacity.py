"""How many samples a data set allows, against trying every number."""

import numpy as np
import pytest

from cabench.data.class_sizes import absent_classes
from cabench.data.dataset import SPLITS, Dataset, Split
from cabench.errors import CabenchError
from cabench.metrics import SampleScorer
from cabench.metrics.capacity import capacity, largest_n, shortfall
from cabench.metrics.reference import matched, proportional, report_labels


def data(counts):
    """A data set of black images; `counts`: images of each class, split by split."""
    return Dataset(
        name="toy",
        licence="none",
        classes={"label": [f"c{k}" for k in range(len(counts[0]))]},
        flip=False,
        splits={
            name: Split(
                np.zeros((sum(count), 1, 4, 4), np.uint8),
                {"label": np.repeat(np.arange(len(count)), count)},
            )
            for name, count in zip(SPLITS, counts, strict=True)
        },
    )


def possible(report, available, n):
    """Whether n samples can be matched, by trying."""
    try:
        labels = report_labels(np.repeat(np.arange(len(report)), report), n)
        matched(np.repeat(np.arange(len(report)), available), labels, "")
        return True
    except CabenchError:
        return False


@pytest.mark.parametrize("seed", range(40))
def test_the_largest_number_of_samples(seed):
    rng = np.random.RandomState(seed)
    report, other = rng.randint(0, 9, (2, rng.randint(1, 7)))
    available = np.minimum(report, other)
    expected = [n for n in range(1, report.sum() + 1) if possible(report, available, n)]
    assert largest_n(report, available) == max(expected, default=0)


def test_proportional_numbers():
    assert proportional(np.array([50, 30, 20]), 10).tolist() == [5, 3, 2]
    assert proportional(np.array([2, 2, 2]), 4).tolist() == [2, 1, 1]  # ties: the smaller label


def test_the_class_that_limits_is_named():
    assert capacity(data([[9, 9], [5, 5], [5, 5]])).limit == "all images of 'report'"
    most = capacity(data([[9, 9], [5, 2], [5, 5]]))
    assert most.n == 5  # 3 and 2
    assert most.limit == "class 'c1' is 5 of 10 images in 'report' and has 2 in 'judge-train'"
    most = capacity(data([[1, 9], [5, 5], [5, 5]]))  # kid_trained compares with training images
    assert most.n == 2 and most.limit.endswith("has 1 in 'generator-train'")
    assert capacity(data([[1, 9], [5, 5], [5, 5]]), splits=SPLITS[1:]).n == 10
    assert capacity(data([[9, 9], [5, 5], [7, 7]]), halved=True).n == 8


def test_metrics_that_cannot_be_measured():
    small, big = data([[200] * 2, [60] * 2, [60] * 2]), data([[300] * 2, [150] * 2, [150] * 2])
    assert shortfall("kid", small, capacity(small).n) == ""
    assert shortfall("fid_lite0_112", small, 120) == "needs 224 samples"
    assert shortfall("fid_lite0_112", big, capacity(big).n) == ""
    assert shortfall("style_accuracy", big, 300) == "data set 'toy' has no stream 'style'"
    assert shortfall("heldout_loss", big, 0) == ""


def test_capacity_is_what_the_scorer_accepts(tmp_path):
    dataset = data([[300, 300], [130, 170], [150, 150]])
    n = capacity(dataset).n
    SampleScorer(dataset, n, tmp_path)
    with pytest.raises(CabenchError):
        SampleScorer(dataset, n + 2, tmp_path)


def test_absent_classes_are_named():
    lines = absent_classes(data([[5, 0, 2], [2, 3, 0], [2, 1, 0]]), ["label"])
    assert lines == [
        "label: generator-train has no image of 1 of 3 classes, which cannot be learned: c1 (4)",
        "label: judge-train has no image of 1 of 3 classes, which have no real images for the "
        "metrics: c2 (2)",
        "label: report has no image of 1 of 3 classes, which are never sampled: c2 (2)",
    ]
    assert absent_classes(data([[1], [1], [1]]), ["label"]) == []
