from cabench.metrics import SampleScorer
from cabench.metrics.extractors import DEFAULT
from cabench.metrics.feature_files import absent_features


def test_features_of_a_cpu_are_absent_on_a_gpu(digits, tmp_path):
    images = sum(len(digits.split(split)) for split in ("report", "judge-train"))
    for device, left in (("cuda:1", (images, 0)), ("cpu", (0, 0))):
        for path in SampleScorer(digits, 256, tmp_path, device=device).files():
            path.parent.mkdir(exist_ok=True)
            path.touch()
        absent = [absent_features(digits, tmp_path, DEFAULT, on_gpu) for on_gpu in (False, True)]
        assert tuple(absent) == left
