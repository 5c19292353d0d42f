import numpy as np
import pytest
from PIL import Image

from cabench.data import SPLITS, load_dataset, open_catalogue
from cabench.data.catalogue import check
from cabench.errors import DataMissing

datasets = pytest.importorskip("datasets")

FINE, TONE = list("abcd"), ["dark", "light"]
FEATURES = {
    "img": datasets.Image(),
    "fine": datasets.ClassLabel(names=FINE),
    "tone": datasets.ClassLabel(names=TONE),
    "caption": datasets.Value("string"),
    "id": datasets.Value("int64"),
}


def table(count, **changed):
    """Red is the class, green the tone, blue the row."""
    rows = [(i % 4, i // 2 % 2, i % 256) for i in range(count)]
    columns = {
        "img": [
            Image.fromarray(np.full((10, 12, 3), (60 * a, b, c), np.uint8)) for a, b, c in rows
        ],
        "fine": [a for a, _, _ in rows],
        "tone": [b for _, b, _ in rows],
        "caption": [f"{TONE[b]} {FINE[a]}" for a, b, _ in rows],
        "id": list(range(count)),
    }
    return datasets.Dataset.from_dict({**columns, **changed}, datasets.Features(FEATURES))


@pytest.fixture
def saved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parts = {"train": table(200), "test": table(100), "validation": table(8)}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    return tmp_path / "saved"


def load(path, **options):
    chosen = {"label": "fine", "text": "caption", **options}
    return load_dataset("huggingface", path=str(path), size=8, **chosen)


def test_rows_keep_their_image_labels_and_caption(saved):
    dataset = load(saved)
    assert dataset.classes == {"tone": TONE, "label": FINE} and dataset.shape == (3, 8, 8)
    sizes = [len(dataset.split(name)) for name in SPLITS]
    assert sum(sizes[:2]) == 200 and 0 < sizes[1] < 60 and sizes[2] == 100
    for name in SPLITS:
        part = dataset.split(name)
        label, tone = part.streams["label"], part.streams["tone"]
        assert np.array_equal(part.images[:, 0, 4, 4], 60 * label)
        assert np.array_equal(part.images[:, 1, 4, 4], tone)
        assert part.texts["text"] == [
            f"{TONE[b]} {FINE[a]}" for a, b in zip(label, tone, strict=True)
        ]
    assert sorted(dataset.split("report").images[:, 2, 0, 0]) == list(range(100))


def test_parquet_files_are_the_same_data_set(saved, tmp_path):
    (tmp_path / "parquet").mkdir()
    for name, part in datasets.load_from_disk(saved).items():
        part.to_parquet(tmp_path / "parquet" / f"{name}.parquet")
    assert load(tmp_path / "parquet").fingerprint == load(saved).fingerprint


def test_one_split_is_divided(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table(200).save_to_disk(tmp_path / "one")
    dataset = load(tmp_path / "one", held_out=0.25, text=None)
    assert [len(dataset.split(name)) for name in SPLITS] == [104, 48, 48]  # 12 of the 50 of a class
    assert set(dataset.split("report").texts) == set()


def test_a_column_of_values_as_label(saved):
    assert load(saved, label="caption").classes["label"] == [
        "dark a", "dark b", "light c", "light d",
    ]  # fmt: skip


def test_numbers_stay_with_their_row(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ages = [row / 7 for row in range(200)]
    table(200).add_column("age", ages).save_to_disk(tmp_path / "one")
    dataset = load(tmp_path / "one", numbers=("age",))
    assert dataset.vectors == {"age": 1}
    part = dataset.split("generator-train")
    assert np.corrcoef(part.vectors["age"][:, 0], part.images[:, 2, 0, 0])[0, 1] > 0.9999


def test_maps_stay_with_their_row(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    greys = [Image.new("L", (24, 20), row) for row in range(200)]
    features = {"edges": datasets.Image()}
    maps = datasets.Dataset.from_dict({"edges": greys}, datasets.Features(features))
    datasets.concatenate_datasets([table(200), maps], axis=1).save_to_disk(tmp_path / "one")
    dataset = load(tmp_path / "one", maps=("edges",))
    assert dataset.maps == {"edges": (1, 8, 8)}
    for name in SPLITS:
        part = dataset.split(name)
        assert np.array_equal(part.maps["edges"][:, 0], part.images[:, 2])
    with pytest.raises(DataMissing, match="maps: expected a column of type Image, got 'id'"):
        load(tmp_path / "one", image="img", maps=("id",))


TAGS = ["cat", "dog", "owl", "ox"]  # no image is of an owl, all of an ox


def with_tags(rows):
    """The table, and lists of labels of its rows, in a column `tags`."""
    features = datasets.Features({"tags": datasets.List(datasets.ClassLabel(names=TAGS))})
    tags = datasets.Dataset.from_dict({"tags": rows}, features)
    return datasets.concatenate_datasets([table(len(rows)), tags], axis=1)


def test_several_labels_an_image_are_a_stream(tmp_path, monkeypatch):
    """One number per label that varies: 1 where the row has it, -1 elsewhere."""
    monkeypatch.chdir(tmp_path)
    lists = [[3], [0, 3], [3, 1], [1, 0, 3]]  # by class
    with_tags([lists[row % 4] for row in range(200)]).save_to_disk(tmp_path / "one")
    dataset = load(tmp_path / "one")
    assert dataset.vectors == {"tags": 2} and set(dataset.classes) == {"tone", "label"}
    for name in SPLITS:
        part = dataset.split(name)
        expected = [[1 if k in lists[c] else -1 for k in (0, 1)] for c in part.streams["label"]]
        assert np.array_equal(part.vectors["tags"], expected)
    (note,) = [n for n in opened(tmp_path / "one").notes if "tags" in n]
    assert note.endswith("several labels per image: a stream of 2 numbers, in the order cat, dog")


def opened(path):
    return open_catalogue("huggingface", path=str(path), size=8, label="fine", text="caption")


@pytest.mark.parametrize("rows", [[[]] * 200, [[1, 2]] * 200])
def test_labels_that_do_not_vary_are_ignored(tmp_path, monkeypatch, rows):
    monkeypatch.chdir(tmp_path)
    with_tags(rows).save_to_disk(tmp_path / "one")
    assert load(tmp_path / "one").vectors == {}
    assert "ignored: the column 'tags': no label that varies" in opened(tmp_path / "one").notes


def test_a_row_without_labels_of_its_own_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with_tags([[0], [1], None, [-1]] * 50).save_to_disk(tmp_path / "one")
    first, second, *_ = opened(tmp_path / "one").problems
    line = "tags: expected a list of labels below 4, got"
    assert first == f"the data set, row 2: {line} null"
    assert second == f"the data set, row 3: {line} a list of 1"


def test_several_labels_need_no_other_label(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    only = with_tags([[0], [1], [], [1]] * 50).select_columns(["img", "tags"])
    only.save_to_disk(tmp_path / "one")
    dataset = load_dataset("huggingface", path=str(tmp_path / "one"), size=8)
    assert dataset.classes == {"label": ["image"]} and dataset.vectors == {"tags": 2}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"label": "fin"}, "label: no column 'fin' (did you mean 'fine'?); columns: img, fine"),
        ({"numbers": ("fine", "caption")}, "caption: expected a number, got 'dark a'"),
        ({"image": "id"}, "image: expected a column of type Image, got 'id' of type Value"),
        ({"text": "fine"}, "fine: expected a caption or a list of captions, got 0"),
    ],
)
def test_wrong_columns(saved, options, text):
    with pytest.raises(DataMissing, match="^huggingface: ") as error:
        load(saved, **options)
    assert text in str(error.value)


def test_folder_that_holds_no_data_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        DataMissing, match="cannot be read: .*; expected a folder that save_to_disk"
    ):
        load(tmp_path)


UNREADABLE = [
    "huggingface: the data set, row 197: no image",
    "huggingface: the data set, row 198 cannot be read as an image (no format that Pillow reads); "
    "replace or remove it",
]


def test_every_unusable_row_is_listed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = [*table(197)["img"][:], None, {"bytes": b"no image", "path": None}, None]
    labels = [i % 4 for i in range(199)] + [-1]
    table(200, img=images, fine=labels).save_to_disk(tmp_path / "bad")
    opened = open_catalogue("huggingface", path=str(tmp_path / "bad"), size=8, label="fine")
    first, *others = check(opened).lines
    assert first == "huggingface: the data set, row 199: fine: no label: -1"
    assert sorted(others) == UNREADABLE


@pytest.mark.parametrize("values", [FINE, [3, 5, 7, 9]])
def test_a_column_label_of_text_or_whole_numbers_needs_no_option(tmp_path, values):
    parts = {
        name: table(count).select_columns("img").add_column("label", values * (count // 4))
        for name, count in {"train": 40, "test": 8}.items()
    }
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "named")
    dataset = load_dataset("huggingface", path=str(tmp_path / "named"), size=8)
    assert dataset.classes == {"label": [str(value) for value in values]}
    images, label = dataset.split("report").images, dataset.split("report").streams["label"]
    assert np.array_equal(images[:, 0, 4, 4], 60 * label)
