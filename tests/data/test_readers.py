"""Folders, tables and JSON lines become the same labelled set; what cannot be read is named."""

import json
import os
import subprocess
import sys
from io import BytesIO

import pytest
from PIL import Image

from keepsight.data.labelled import LabelledSet, Rows, choose, label_text
from keepsight.data.pictures import decode
from keepsight.data.published import PUBLISHED, published_set
from keepsight.data.readers import read_dataset, read_folder, read_jsonl, read_parquet, read_set
from keepsight.types import KeepsightError, Media


def png(colour="red"):
    buffer = BytesIO()
    Image.new("RGB", (4, 4), colour).save(buffer, "PNG")
    return buffer.getvalue()


def write(root, *names):
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png((i % 256, 0, 0)))


def folder(root, classes=("cat", "sea_lion"), n=10, splits=(".",)):
    write(root, *(f"{split}/{label}/{i}.png" for split in splits for label in classes for i in range(n)))
    return root


def ids(pictures):
    return [picture.id for picture in pictures]


class TestFolder:
    def test_without_a_split_a_fifth_of_each_class_is_held_out(self, tmp_path):
        found = read_folder(folder(tmp_path / "pets"))
        assert (found.name, found.labels, found.noun) == ("pets", ("cat", "sea lion"), "object")
        test, train = found.test(), found.train()
        assert [p.label for p in test] == ["cat"] * 2 + ["sea lion"] * 2 and len(train) == 16
        assert not set(ids(test)) & set(ids(train))
        assert ids(test) == ids(read_folder(tmp_path / "pets").test())
        assert decode(test[0].media).size == (4, 4)
        assert "4 of 20 pictures are held out" in found.notes[0]

    def test_tiny_classes_still_have_a_test_picture(self, tmp_path):
        write(tmp_path, "a/1.png", "a/2.png", "b/1.png")
        found = read_folder(tmp_path)
        assert (found.count("test"), found.count("train")) == (1, 2)

    def test_splits_are_used_as_given(self, tmp_path):
        found = read_folder(folder(tmp_path, splits=("train", "val", "test"), n=3))
        assert ids(found.test())[:2] == ["test/cat/0.png", "test/cat/1.png"]
        assert found.count("train") == 6 and "6 val pictures are not used." in found.notes

    def test_validation_stands_in_for_a_missing_test_split(self, tmp_path):
        found = read_folder(folder(tmp_path, splits=("train", "validation"), n=3))
        assert all(name.startswith("validation/") for name in ids(found.test()))

    def test_a_class_may_be_called_train(self, tmp_path):
        found = read_folder(folder(tmp_path, classes=("train", "bus"), n=5))
        assert found.labels == ("bus", "train")
        write(tmp_path, "train/night/1.png", "test_drive/1.png")
        assert read_folder(tmp_path).labels == ("bus", "test drive", "train")

    def test_numbers_are_sorted_by_value(self, tmp_path):
        found = read_folder(folder(tmp_path, classes=[str(i) for i in range(11)], n=2))
        assert found.labels == tuple(str(i) for i in range(11)) and found.noun == "number"

    def test_other_files_are_counted_and_hidden_ones_ignored(self, tmp_path):
        folder(tmp_path, n=2)
        (tmp_path / "cat" / "notes.txt").write_text("x")
        (tmp_path / "cat" / ".DS_Store").write_text("x")
        write(tmp_path, ".thumbs/a.png", "cat/deep/er.PNG")
        found = read_folder(tmp_path)
        assert "1 files are no pictures: cat/notes.txt." in found.notes
        assert found.count("train") + found.count("test") == 5 and found.labels == ("cat", "sea lion")

    def test_folders_without_pictures_are_no_classes(self, tmp_path):
        folder(tmp_path, n=2)
        write(tmp_path, "__MACOSX/cat/._0.png", "__MACOSX/cat/0.png", "cat/__MACOSX/1.png")
        (tmp_path / "docs").mkdir()
        (tmp_path / "docs" / "licence.txt").write_text("x")
        found = read_folder(tmp_path)
        assert found.labels == ("cat", "sea lion") and found.count("train") + found.count("test") == 4
        assert "2 folders hold no pictures and are no classes: __MACOSX, docs." in found.notes

    def test_folders_without_pictures_do_not_hide_a_split(self, tmp_path):
        folder(tmp_path, splits=("train", "test"), n=3)
        write(tmp_path, "__MACOSX/train/cat/._0.png")
        (tmp_path / "train" / "dog").mkdir()
        (tmp_path / "test" / "cat" / "thumbs").mkdir()
        found = read_folder(tmp_path)
        assert found.labels == ("cat", "sea lion") and (found.count("train"), found.count("test")) == (6, 6)
        assert "2 folders hold no pictures and are no classes: __MACOSX, train/dog." in found.notes

    def test_readable_names_from_classes_json(self, tmp_path):
        folder(tmp_path, classes=("n01", "n02"), n=2)
        (tmp_path / "classes.json").write_text('{"n01": "house_finch", "n02": "robin"}')
        assert read_folder(tmp_path).labels == ("house finch", "robin")

    def test_links_that_leave_the_folder_are_refused(self, tmp_path):
        folder(tmp_path / "set", n=2)
        write(tmp_path, "secret/x.png")
        (tmp_path / "set" / "cat" / "x.png").symlink_to(tmp_path / "secret" / "x.png")
        with pytest.raises(KeepsightError, match=r"x\.png is a link that leads outside"):
            read_folder(tmp_path / "set")

    def test_a_class_folder_that_is_a_link_outside_is_refused(self, tmp_path):
        folder(tmp_path / "set", n=2)
        write(tmp_path, "secret/x.png")
        (tmp_path / "set" / "dog").symlink_to(tmp_path / "secret")
        with pytest.raises(KeepsightError, match="dog is a link that leads outside"):
            read_folder(tmp_path / "set")

    @pytest.mark.parametrize(
        ("files", "message"),
        [
            ([], "holds no class folders"),
            (["a.png"], "holds no class folders"),
            (["cat/a.txt"], "no labelled pictures found"),
            (["sea_lion/a.png", "sea lion/b.png"], "are one label"),
            (["n02110341/a.png", "n01532829/a.png"], "put classes.json beside them"),
            (["train/a/1.png", "training/a/1.png"], "two folders hold the train split"),
        ],
    )
    def test_folders_that_cannot_be_read(self, tmp_path, files, message):
        write(tmp_path, *files)
        with pytest.raises(KeepsightError, match=message):
            read_folder(tmp_path)

    def test_a_broken_picture_is_an_error_of_that_picture_alone(self, tmp_path):
        folder(tmp_path, n=2)
        (tmp_path / "cat" / "0.png").write_bytes(b"not a picture")
        found = read_folder(tmp_path)
        pictures = [*found.train(), *found.test()]
        broken = [picture for picture in pictures if picture.id == "cat/0.png"]
        assert len(pictures) == 4
        with pytest.raises(KeepsightError, match=r"cat/0\.png"):
            decode(broken[0].media)


def parquet(path, rows, features=None, group=2):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist(rows)
    if features:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=group)
    return path


def rows(labels, image="img", label="label"):
    return [{image: {"bytes": png((i, 0, 0)), "path": None}, label: value} for i, value in enumerate(labels)]


NAMES = {"label": {"names": ["sea_lion", "cat"], "_type": "ClassLabel"}}


class TestParquet:
    def test_class_numbers_are_named_by_the_metadata(self, tmp_path):
        found = read_parquet(parquet(tmp_path / "x.parquet", rows([0, 1] * 5), NAMES))
        assert found.labels == ("sea lion", "cat")  # data-set order
        pictures = sorted([*found.train(), *found.test()], key=lambda p: p.id)
        assert [p.label for p in pictures] == ["sea lion", "cat"] * 5
        assert [decode(p.media).getpixel((0, 0))[0] for p in pictures] == list(range(10))

    def test_string_labels_and_plain_bytes(self, tmp_path):
        data = [{"image": png(), "label": name} for name in ("b", "a", "b", "a")]
        assert read_parquet(parquet(tmp_path / "x.parquet", data)).labels == ("a", "b")

    def test_shards_and_splits_of_a_folder(self, tmp_path):
        for i in range(2):
            parquet(tmp_path / f"data/train-0000{i}-of-00002.parquet", rows([0, 1]), NAMES)
        parquet(tmp_path / "data/test-00000-of-00001.parquet", rows([1]), NAMES)
        found = read_set(tmp_path)
        assert (found.count("train"), found.count("test")) == (4, 1)
        assert len(set(ids(found.train()))) == 4 and found.test()[0].label == "cat"

    def test_only_the_rows_asked_for_are_read(self, tmp_path, monkeypatch):
        import pyarrow.parquet as pq

        path = parquet(tmp_path / "test.parquet", rows([0, 1] * 50), NAMES)
        found = read_parquet(path)
        groups = []
        real = pq.ParquetFile.read_row_group
        monkeypatch.setattr(
            pq.ParquetFile, "read_row_group", lambda s, i, **k: groups.append(i) or real(s, i, **k)
        )
        assert len(found.test(3)) == 3 and len(groups) <= 3

    def test_unlabelled_rows_are_counted(self, tmp_path):
        found = read_parquet(parquet(tmp_path / "x.parquet", rows([0, 1, -1, None, 0]), NAMES))
        assert "2 all rows have no label." in found.notes and found.count("train") + found.count("test") == 3

    @pytest.mark.parametrize(
        ("data", "features", "message"),
        [
            (rows([0]), None, "numbers without names"),
            (rows([2]), NAMES, "class number 2, but there are 2"),
            (rows([0.5]), None, "labels are float"),
            (rows([0], label="y"), NAMES, "no label column among img, y"),
            ([{"label": "a", "text": "b"}], None, "no picture column"),
        ],
    )
    def test_tables_that_cannot_be_read(self, tmp_path, data, features, message):
        with pytest.raises(KeepsightError, match=message):
            read_parquet(parquet(tmp_path / "test.parquet", data, features)).test()

    @pytest.mark.parametrize(
        ("cell", "message"),
        [
            ({"bytes": None, "path": None}, "row 0: the picture column is empty"),
            ({"bytes": None, "path": "../x.png"}, "row 0: path '../x.png' leaves"),
            ({"bytes": None, "path": "https://x.org/a.png"}, "row 0: picture https://x.org/a.png is remote"),
        ],
    )
    def test_a_cell_without_a_picture_is_an_error_of_its_row_alone(self, tmp_path, cell, message):
        table = [{"image": cell, "label": "a"}, {"image": {"bytes": png(), "path": None}, "label": "b"}]
        bad, good = read_parquet(parquet(tmp_path / "test.parquet", table)).test()
        with pytest.raises(KeepsightError, match=message):
            decode(bad.media)
        assert decode(good.media).size == (4, 4)

    def test_a_file_that_is_no_parquet(self, tmp_path):
        (tmp_path / "x.parquet").write_text("hello")
        with pytest.raises(KeepsightError, match=r"cannot read .*x\.parquet"):
            read_parquet(tmp_path / "x.parquet")


class TestDataset:
    @pytest.fixture
    def saved(self, tmp_path):
        from datasets import ClassLabel, Dataset, DatasetDict, Features
        from datasets import Image as ImageColumn

        features = Features({"img": ImageColumn(), "fine_label": ClassLabel(names=["sea_lion", "cat"])})
        data = {"img": [{"bytes": png((i, 0, 0)), "path": None} for i in range(6)], "fine_label": [0, 1] * 3}
        whole = Dataset.from_dict(data, features=features)
        DatasetDict(train=whole, test=whole.select(range(2))).save_to_disk(tmp_path / "both")
        whole.save_to_disk(tmp_path / "one")
        return tmp_path

    def test_a_saved_dataset_with_splits(self, saved):
        found = read_set(saved / "both")
        assert (found.name, found.labels) == ("both", ("sea lion", "cat"))
        assert (found.count("train"), found.count("test")) == (6, 2)
        assert decode(found.train()[5].media).getpixel((0, 0)) == (5, 0, 0)

    def test_a_saved_dataset_without_splits(self, saved):
        found = read_dataset(saved / "one")
        assert found.count("train") + found.count("test") == 6

    def test_reading_does_not_import_torch(self, saved):
        code = f"import sys; from keepsight.data.readers import read_set; read_set({str(saved / 'one')!r}).test(); assert 'torch' not in sys.modules"
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

    def test_a_hub_that_cannot_be_reached(self, monkeypatch):
        import datasets

        def offline(*args, **kwargs):
            raise ConnectionError("Couldn't reach the hub")

        monkeypatch.setattr(datasets, "load_dataset", offline)
        with pytest.raises(KeepsightError, match=r"hf:org/name: Couldn't reach the hub; without a network"):
            read_set("hf:org/name")

    def test_a_hub_set_is_read_like_a_saved_one(self, saved, monkeypatch):
        import datasets

        monkeypatch.setattr(
            datasets, "load_dataset", lambda name, **k: datasets.load_from_disk(saved / "both")
        )
        assert read_set("hf:org/name").count("train") == 6


class TestJsonLines:
    def lines(self, root, *rows, classes=None):
        write(root, "a.png", "b.png")
        (root / "set.jsonl").write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows))
        if classes:
            (root / "set_classes.json").write_text(json.dumps(classes))
        return root / "set.jsonl"

    def test_rows_and_a_class_list(self, tmp_path):
        path = self.lines(
            tmp_path,
            {"image": "a.png", "label": "sea_lion", "split": "train"},
            {"image": "b.png", "label": "cat", "split": "test"},
            "",
            classes=["sea_lion", "zebra", "cat", "cat"],
        )
        found = read_set(path)
        assert found.labels == ("sea lion", "zebra", "cat") and ids(found.test()) == ["b.png"]

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ("{", "line 2: not JSON"),
            ("[]", "line 2: expected"),
            ({"image": "a.png"}, "line 2: expected"),
            ({"image": "b.png", "label": "cat", "split": "dog"}, "split 'dog' is none of"),
            ({"image": "gone.png", "label": "cat"}, "no file 'gone.png'"),
            ({"image": "../a.png", "label": "cat"}, "leaves"),
            ({"image": "/etc/passwd", "label": "cat"}, "leaves"),
            ({"image": "b.png", "label": "lion"}, "'lion' is not in the class list"),
            ({"image": "b.png", "label": " "}, "the label is empty"),
            ({"image": "a.png", "label": "cat"}, "'a.png' has a row already, line 1"),
            ('{"image": "b.png", "label": "cat", "label": "dog"}', "'label' stands twice"),
            ('{"image": "b.png", "label": "cat", "weight": NaN}', "NaN is no JSON number"),
        ],
    )
    def test_a_bad_row_is_an_error_of_its_own_and_leaves_the_others_alone(self, tmp_path, row, message):
        path = self.lines(
            tmp_path,
            {"image": "a.png", "label": "cat", "split": "test"},
            row,
            {"image": "b.png", "label": "dog", "split": "test"},
            classes=["cat", "dog"],
        )
        found = read_jsonl(path)
        good, bad, other = found.test()
        assert (good.id, other.id) == ("a.png", "b.png") and found.labels == ("cat", "dog")
        assert bad.id == "line 2"
        with pytest.raises(
            KeepsightError, match=rf"set\.jsonl, line 2: .*{message.removeprefix('line 2: ')}"
        ):
            decode(bad.media)

    def test_a_file_of_bad_rows_alone_says_so(self, tmp_path):
        with pytest.raises(KeepsightError, match=r"no row that can be used; the first: .*line 1: not JSON"):
            read_jsonl(self.lines(tmp_path, "{", "[]"))


class TestPublished:
    def test_label_lists(self):
        assert [len(about.labels) for about in PUBLISHED.values()] == [10, 10, 100, 0, 0, 0, 0, 0]
        hundred = PUBLISHED["cifar100"].labels
        assert sorted(hundred) == list(hundred) and (hundred[0], hundred[-1]) == ("apple", "worm")
        assert "aquarium fish" in hundred and not any("_" in name for name in hundred)

    @pytest.mark.parametrize("name", PUBLISHED)
    def test_without_a_path_it_says_what_to_give(self, name):
        with pytest.raises(
            KeepsightError, match=f"set {name}: .* does not come with the package; give path="
        ):
            published_set(name, None)

    def test_mnist_class_numbers_need_no_metadata(self, tmp_path):
        found = published_set("mnist", parquet(tmp_path / "mnist.parquet", rows([7, 2] * 5, image="image")))
        assert (found.labels, found.noun) == (tuple("0123456789"), "number")
        assert {p.label for p in found.train()} == {"7", "2"}

    def test_its_own_spelling_wins_over_the_tables(self, tmp_path):
        names = [name.replace(" ", "_") for name in PUBLISHED["cifar100"].labels]
        names[names.index("crab")] = "cra"
        features = {"fine_label": {"names": names, "_type": "ClassLabel"}}
        path = parquet(tmp_path / "c.parquet", rows([26, 26, 1, 1], label="fine_label"), features)
        found = published_set("cifar100", path)
        assert {p.label for p in [*found.train(), *found.test()]} == {"crab", "aquarium fish"}

    def test_folders_in_any_order_and_strangers(self, tmp_path):
        found = published_set("cifar10", folder(tmp_path / "c10", classes=("truck", "airplane"), n=2))
        assert found.labels == PUBLISHED["cifar10"].labels and found.test()[0].label == "airplane"
        with pytest.raises(KeepsightError, match="labels that CIFAR-10 has not \\(sea lion\\)"):
            published_set("cifar10", folder(tmp_path / "other"))

    def test_miniimagenet_takes_its_labels_from_the_folders(self, tmp_path):
        found = published_set("miniimagenet", folder(tmp_path, classes=("yawl", "African_hunting_dog"), n=2))
        assert found.labels == ("African hunting dog", "yawl") and found.name == "miniimagenet"


class TestChoice:
    def pictures(self, n=100):
        names = tuple(f"p{i}" for i in range(n))
        rows = Rows(names, ("a",) * n, lambda places: [Media(data=b"%d" % i) for i in places])
        return LabelledSet("set", ("a",), {"train": rows, "test": rows.part(range(10))})

    def test_a_share_is_random_seeded_and_in_order(self):
        pictures = self.pictures()
        fifth = ids(choose(pictures, "train", share=0.2))
        assert len(fifth) == 20 and fifth == sorted(fifth, key=lambda name: int(name[1:]))
        assert (
            fifth
            == ids(choose(pictures, "train", share=0.2))
            != ids(choose(pictures, "train", share=0.2, seed=1))
        )

    def test_more_pictures_contain_fewer(self):
        pictures = self.pictures()
        assert set(ids(pictures.train(5))) < set(ids(pictures.train(6)))

    def test_pictures_go_with_their_rows(self):
        assert all(p.media.read() == p.id[1:].encode() for p in self.pictures().train(7))

    def test_all_is_both_splits(self):
        assert len(choose(self.pictures(), "all")) == 110

    @pytest.mark.parametrize(
        "settings", [{"share": 0.0}, {"share": 1.5}, {"share": 0.5, "n": 3}, {"n": 101}, {"split": "dev"}]
    )
    def test_impossible_choices(self, settings):
        with pytest.raises(KeepsightError, match="set set"):
            choose(self.pictures(), **{"split": "train", **settings})

    def test_drawn_sets_are_chosen_from_alike(self):
        from keepsight.data.drawn import SETS

        fifth = choose(SETS["digits"], "train", share=0.2)
        assert len(fifth) == round(0.2 * len(SETS["digits"].train())) and len(set(ids(fifth))) == len(fifth)

    def test_label_text(self):
        assert label_text("African_hunting_dog") == "African hunting dog"


def test_what_is_no_set_is_refused(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"PK")
    with pytest.raises(KeepsightError, match="is no set of pictures"):
        read_set(tmp_path / "x.zip")
    with pytest.raises(KeepsightError, match="write hf:org/name"):
        read_set("org/name")
    with pytest.raises(KeepsightError, match="check the path"):
        read_set(tmp_path / "gone")


def test_a_link_inside_the_folder_is_fine(tmp_path):
    folder(tmp_path, n=2)
    os.symlink(tmp_path / "cat" / "0.png", tmp_path / "cat" / "link.png")
    found = read_folder(tmp_path)
    assert found.count("train") + found.count("test") == 5
