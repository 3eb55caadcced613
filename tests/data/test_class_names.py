"""ImageNet and its kin: names for synset folders, class lists, the published JSON lines, tables; duplicates merged."""

import json

import pytest

from keepsight.data.class_names import class_list, folder_names
from keepsight.data.published import PUBLISHED, published_set
from keepsight.data.readers import read_folder, read_set
from keepsight.tasks.classification import closed_world
from keepsight.types import KeepsightError
from tests.data.test_readers import folder, parquet, png, rows, write

SYNSETS = ("n01440764", "n02012849", "n03126707")
MAPPING = "n01440764 tench, Tinca tinca\nn02012849 crane\nn03126707 crane\nn09999999 not here\n"


def imagenet(root, mapping=MAPPING, name="LOC_synset_mapping.txt"):
    folder(root, classes=SYNSETS, n=2, splits=("train", "val"))
    (root / name).write_text(mapping)
    return root


class TestSynsetFolders:
    @pytest.mark.parametrize("name", ["LOC_synset_mapping.txt", "words.txt"])
    def test_names_beside_the_folders(self, tmp_path, name):
        mapping = MAPPING.replace(" ", "\t", 1) if name == "words.txt" else MAPPING
        found = published_set("imagenet", imagenet(tmp_path / "in", mapping, name))
        assert (found.name, found.labels, found.noun) == ("imagenet", ("tench", "crane"), "object")
        assert (found.count("train"), found.count("test")) == (6, 6)
        assert [p.label for p in found.test()] == ["tench"] * 2 + ["crane"] * 4
        assert (
            "1 names stand for several classes, which are one here: crane (n02012849, n03126707)."
            in found.notes
        )
        assert "There is no test split: the validation split is asked." in found.notes

    @pytest.mark.parametrize(
        "names",
        [
            {"n01440764": "tench", "n02012849": "crane (bird)", "n03126707": "crane (machine)"},
            {
                "0": ["n01440764", "tench"],
                "1": ["n02012849", "crane (bird)"],
                "2": ["n03126707", "crane (machine)"],
            },
            ["tench", "crane (bird)", "crane (machine)"],
        ],
    )
    def test_names_from_a_file_of_ones_own(self, tmp_path, names):
        (tmp_path / "names.json").write_text(json.dumps(names))
        folder(tmp_path / "in", classes=SYNSETS, n=2, splits=("train", "val"))
        found = read_set(tmp_path / "in", classes=tmp_path / "names.json")
        assert found.labels == ("tench", "crane (bird)", "crane (machine)")
        assert found.test()[2].label == "crane (bird)" and found.test()[2].id.startswith("val/n02012849/")
        task = closed_world("imagenet", path=tmp_path / "in", classes=tmp_path / "names.json")
        assert (
            task.name == "closed:imagenet"
            and '"tench, crane (bird), crane (machine)"' in task.test()[0].prompt
        )

    def test_a_list_must_fit_the_folders(self, tmp_path):
        (tmp_path / "names.json").write_text('["tench", "crane"]')
        with pytest.raises(KeepsightError, match="lists 2 names for 3 class folders"):
            read_folder(folder(tmp_path / "in", classes=SYNSETS, n=2), classes=tmp_path / "names.json")
        (tmp_path / "names.json").write_text('["a", "b", "c"]')
        with pytest.raises(KeepsightError, match="one name for each synset folder"):
            read_folder(folder(tmp_path / "x", classes=("q", "r", "s"), n=2), classes=tmp_path / "names.json")

    def test_a_folder_without_a_name_is_refused(self, tmp_path):
        with pytest.raises(
            KeepsightError, match=r"1 class folders are named by WordNet ids.*\"n03126707\".*classes="
        ):
            read_folder(imagenet(tmp_path / "in", "n01440764 tench\nn02012849 crane\n"))

    def test_pictures_of_a_split_without_class_folders_are_refused(self, tmp_path):
        folder(tmp_path, classes=SYNSETS, n=1, splits=("train",))
        write(tmp_path, "val/ILSVRC2012_val_00000001.JPEG")
        with pytest.raises(KeepsightError, match="val holds no class folders, unlike the split beside it"):
            read_folder(tmp_path)

    def test_accidents_are_still_no_duplicates(self, tmp_path):
        write(tmp_path, "sea_lion/a.png", "sea lion/b.png")
        with pytest.raises(KeepsightError, match="are one label"):
            read_folder(tmp_path)
        write(tmp_path / "x", "a/a.png", "b/b.png")
        (tmp_path / "x" / "classes.json").write_text('{"a": "b"}')
        with pytest.raises(KeepsightError, match="are one label"):
            read_folder(tmp_path / "x")

    @pytest.mark.parametrize(
        ("name", "text", "message"),
        [
            ("m.txt", "n01440764 tench\nkit fox\n", "line 2: expected a synset and its names"),
            ("m.txt", "n01440764\n", "line 1: expected"),
            ("m.json", '"tench"', "must map folder names"),
            ("m.json", '{"n01440764": 3}', "must map folder names"),
            ("m.json", '["tench", 3]', "JSON list of class names"),
            ("m.json", "{", "cannot read"),
        ],
    )
    def test_files_that_are_no_names(self, tmp_path, name, text, message):
        (tmp_path / name).write_text(text)
        with pytest.raises(KeepsightError, match=message):
            folder_names(tmp_path / name, SYNSETS)

    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(KeepsightError, match=r"gone\.txt"):
            folder_names(tmp_path / "gone.txt", SYNSETS)
        (tmp_path / "m.txt").write_bytes(b"n01440764 t\xe4nch")
        with pytest.raises(KeepsightError, match="not UTF-8"):
            folder_names(tmp_path / "m.txt", SYNSETS)


PETALS = ["pink primrose", "rose", "rose"]


@pytest.mark.parametrize("name", ["imagenet", "flowers102", "stanfordcars", "caltech101"])
class TestEveryForm:
    def test_class_folders(self, tmp_path, name):
        found = published_set(name, folder(tmp_path / "set", classes=("pink_primrose", "rose"), n=5))
        assert (found.name, found.labels, found.noun) == (name, ("pink primrose", "rose"), "object")

    def test_a_table(self, tmp_path, name):
        names = {"label": {"names": PETALS[:2], "_type": "ClassLabel"}}
        found = published_set(name, parquet(tmp_path / "test.parquet", rows([1, 0]), names))
        assert found.labels == tuple(PETALS[:2]) and [p.label for p in found.test()] == [
            "rose",
            "pink primrose",
        ]

    def test_a_table_of_class_numbers_and_a_list_with_a_name_that_stands_twice(self, tmp_path, name):
        (tmp_path / "names.json").write_text(json.dumps(PETALS))
        path = parquet(tmp_path / "test.parquet", rows([2, 1, 0]))
        found = published_set(name, path, classes=tmp_path / "names.json")
        assert found.labels == ("pink primrose", "rose") and "3 classes have 2 names." in found.notes
        assert [p.label for p in found.test()] == ["rose", "rose", "pink primrose"]

    def test_a_saved_data_set(self, tmp_path, name):
        datasets = pytest.importorskip("datasets")
        features = datasets.Features(
            {"image": datasets.Image(), "label": datasets.ClassLabel(names=PETALS[:2])}
        )
        data = {"image": [{"bytes": png(), "path": None}] * 2, "label": [1, 0]}
        datasets.DatasetDict({"test": datasets.Dataset.from_dict(data, features=features)}).save_to_disk(
            tmp_path / "ds"
        )
        found = published_set(name, tmp_path / "ds")
        assert found.labels == tuple(PETALS[:2]) and found.test()[0].label == "rose"

    def test_the_published_json_lines(self, tmp_path, name):
        """Paths start from the repository, not from the file's folder; further keys are passed over."""
        write(tmp_path, "data/pictures/1.png", "data/pictures/2.png")
        said = [("1", "rose", "train"), ("2", "pink primrose", "test")]
        lines = [
            {"image": f"./data/pictures/{i}.png", "label": label, "label_idx": 0, "split": split}
            for i, label, split in said
        ]
        (tmp_path / "data" / "set.jsonl").write_text("\n".join(map(json.dumps, lines)))
        (tmp_path / "data" / "set_classes.json").write_text(json.dumps(PETALS))
        (tmp_path / "other.json").write_text(json.dumps(["rose", "pink primrose"]))
        found = published_set(name, tmp_path / "data" / "set.jsonl", image_root=tmp_path)
        assert found.labels == ("pink primrose", "rose") and found.test()[0].label == "pink primrose"
        other = published_set(
            name, tmp_path / "data" / "set.jsonl", image_root=tmp_path, classes=tmp_path / "other.json"
        )
        assert other.labels == ("rose", "pink primrose")

    def test_its_labels_come_from_the_data(self, tmp_path, name):
        assert PUBLISHED[name].labels == ()


def test_of_imagenets_synonyms_the_first_is_the_label(tmp_path):
    names = {"label": {"names": ["tench, Tinca tinca", "crane", "crane, derrick"], "_type": "ClassLabel"}}
    path = parquet(tmp_path / "test.parquet", rows([0, 1, 2]), names)
    found = published_set("imagenet", path)
    assert found.labels == ("tench", "crane") and [p.label for p in found.test()] == [
        "tench",
        "crane",
        "crane",
    ]
    assert "3 classes have 2 first names." in found.notes
    assert published_set("caltech101", path).labels[0] == "tench, Tinca tinca"


def test_a_list_of_ones_own_names_a_tables_classes_by_place(tmp_path):
    names = {"label": {"names": ["tench, Tinca tinca", "missile, a", "missile, b"], "_type": "ClassLabel"}}
    (tmp_path / "names.json").write_text('["tench", "missile", "missile"]')
    path = parquet(tmp_path / "test.parquet", rows([0, 1, 2]), names)
    found = published_set("imagenet", path, classes=tmp_path / "names.json")
    assert found.labels == ("tench", "missile")
    assert [p.label for p in found.test()] == ["tench", "missile", "missile"]


def test_a_class_list_keeps_places(tmp_path):
    (tmp_path / "names.json").write_text(json.dumps(["sea_lion", "rose", "rose"]))
    assert class_list(tmp_path / "names.json") == ("sea lion", "rose", "rose")


def test_an_image_root_of_a_folder_is_a_mistake(tmp_path):
    with pytest.raises(KeepsightError, match="image_root is for JSON lines"):
        read_set(folder(tmp_path / "x"), image_root=tmp_path)
