"""Small files in CoIN's form and in each data set's own, about the same questions: what the readers are held against."""

import json
from pathlib import Path

from PIL import Image

SHORT = "Answer the question using a single word or phrase."
LETTER = "Answer with the option's letter from the given choices directly."
# Table 1 of the seed, with the full stop of its Figure 3.
LINES = {
    "ScienceQA": (LETTER, LETTER),
    "TextVQA": (
        SHORT,
        "Capture the essence of your response in a single word or a concise phrase.",
    ),
    "ImageNet": (SHORT, "Express your answer in a single word or a short, descriptive phrase."),
    "GQA": (SHORT, "Respond to the question briefly, using only one word or a phrase."),
    "VizWiz": (SHORT, "Provide a succinct response with a single word or phrase."),
    "VQAv2": (SHORT, SHORT),
    "OCR-VQA": (SHORT, "Condense your answer into a single word or concise phrase."),
}
DESCRIBES = "Please provide the bounding box coordinate of the region this sentence describes: "
VOTES = ["dark red", "red", "Red", "red", "red", "red", "red", "blue", "red", "maroon"]

# (id, question without instruction, answer, picture below the image folder), two to a split.
ASKED = {
    "ScienceQA": [
        ("1", "Which is wet?\nA. stone\nB. water", "B", "{split}/1/image.png"),
        ("2", "Context: Use the map.\nWhich is north?\nA. up\nB. down\nC. left", "A", None),
    ],
    "TextVQA": [
        ("34602", "what does it say?", "red", "f1.jpg"),
        ("34603", "which brand is it?", "red", "f2.jpg"),
    ],
    "ImageNet": [
        ("train/crane/a.png", "What is the object in the image?", "crane", "train/crane/a.png"),
        ("train/pickup/b.png", "What is the object in the image?", "pickup", "train/pickup/b.png"),
    ],
    "GQA": [
        ("201307251", "Is the sky dark?", "yes", "2370799.jpg"),
        ("201640614", "What animals are there?", "elephants", "2370799.jpg"),
    ],
    "VizWiz": [
        ("VizWiz_{split}_00000000.jpg", "What colour is it?", "red", "VizWiz_{split}_00000000.jpg"),
        ("VizWiz_{split}_00000001.jpg", "Which can is this?", "red", "VizWiz_{split}_00000001.jpg"),
    ],
    "VQAv2": [
        ("262148000", "Where is he looking?", "red", "COCO_{split}2014_000000262148.jpg"),
        ("262148001", "What colour is it?", "red", "COCO_{split}2014_000000262148.jpg"),
    ],
    "OCR-VQA": [
        ("0310807239/0", "Who wrote this book?", "Zondervan", "0310807239.jpg"),
        ("0310807239/1", "Is this a recipe book?", "No", "0310807239.jpg"),
    ],
}
# (sentence, pixels x y w h); the picture is 80 wide and 60 high, the square 80 with 10 above and below.
BOXES = [("the left man", [8, 6, 24, 30]), ("man in red", [8, 6, 24, 30]), ("a dog", [40, 12, 32, 24])]
SIZE = (80, 60)
PADDED = {
    "the left man": [0.1, 0.2, 0.4, 0.575],
    "man in red": [0.1, 0.2, 0.4, 0.575],
    "a dog": [0.5, 0.275, 0.9, 0.575],
}


def picture(path, size=(8, 6), colour="red"):
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        Image.new("RGB", size, colour).save(path, "PNG")
    return path


def save(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def rows_asked(task, split):
    """The same questions in the names of a split; VQAv2 and VizWiz call the asked one val."""
    part = "val" if split == "test" and task in ("VizWiz", "VQAv2") else split
    for name, question, answer, image in ASKED[task]:
        name, image = (None if one is None else one.format(split=part) for one in (name, image))
        if task == "ImageNet" and split == "test":
            name, image = (one.replace("train/", "val/", 1) for one in (name, image))
        yield name, question, answer, image


def coin_json(root: Path, task: str, type2: bool = False) -> Path:
    """train.json and test.json (VQAv2 and VizWiz: val.json) of CoIN's form, and the pictures, below `root`."""
    if task == "REC":
        picture(root / "COCO_train2014_7.jpg", SIZE)
        sentences = [(f"refcoco/{i}", said, PADDED[said]) for i, (said, _) in enumerate(BOXES)]
        image = {"image": "COCO_train2014_7.jpg"}
        train = [_learnt(name, DESCRIBES + said, str(box), **image) for name, said, box in sentences]
        test = [
            {
                "question_id": name,
                "text": DESCRIBES + said,
                "answer_bbox": str(box),
                "size": list(SIZE),
                **image,
            }
            for name, said, box in sentences
        ]
    else:
        line = LINES[task][type2]
        train = [
            _learnt(name, f"{asked}\n{line}", answer, **_shown(root, image))
            for name, asked, answer, image in rows_asked(task, "train")
        ]
        test = [
            {"question_id": name, "text": f"{asked}\n{line}", "answer": answer, **_shown(root, image)}
            for name, asked, answer, image in rows_asked(task, "test")
        ]
    save(root / "train.json", train)
    save(root / ("val.json" if task in ("VizWiz", "VQAv2") else "test.json"), test)
    return root


def _learnt(name, text, answer, **image):
    mark = "<image>\n" if image else ""
    turns = [{"from": "human", "value": f"{mark}{text}"}, {"from": "gpt", "value": answer}]
    return {"id": name, "conversations": turns, **image}


def _shown(root, image):
    if image is None:
        return {}
    picture(root / image)
    return {"image": image}


def original(root: Path, task: str) -> Path:
    """The data set's own files, about the same questions, and the pictures."""
    _WRITERS[task](root)
    return root


def _science_qa(root):
    problems = {}
    for name, question, answer, image in rows_asked("ScienceQA", "train"):
        lines = question.split("\n")
        hint = lines.pop(0).removeprefix("Context: ") if lines[0].startswith("Context") else ""
        problems[name] = {
            "question": lines[0],
            "choices": [line[3:] for line in lines[1:]],
            "answer": "ABCDE".index(answer),
            "hint": hint,
            "image": image and "image.png",
            "lecture": "",
        }
    save(root / "problems.json", problems)
    save(root / "pid_splits.json", {split: list(problems) for split in ("train", "val", "test")})
    for split in ("train", "test"):
        picture(root / "images" / split / "1" / "image.png")


def _text_vqa(root):
    for split, file in (("train", "train"), ("test", "val")):
        rows = [
            {"question_id": int(name), "question": asked, "image_id": image[:-4], "answers": VOTES}
            for name, asked, _, image in rows_asked("TextVQA", split)
        ]
        save(root / f"TextVQA_0.5.1_{file}.json", {"dataset_type": file, "data": rows})
        for row in rows:
            picture(root / "train_images" / f"{row['image_id']}.jpg")


def text_vqa_ocr(root, file="val"):
    rows = [{"image_id": "f1", "ocr_tokens": ["LION", "GATE"]}, {"image_id": "f2", "ocr_tokens": []}]
    return save(root / f"TextVQA_Rosetta_OCR_v0.2_{file}.json", {"data": rows})


def _image_net(root):
    for split in ("train", "test"):
        for _, _, _, image in rows_asked("ImageNet", split):
            picture(root / image, colour="blue")


def _gqa(root):
    for split, part in (("train", "train"), ("test", "testdev")):
        questions = {
            name: {"question": asked, "answer": answer, "imageId": image[:-4], "isBalanced": True}
            for name, asked, answer, image in rows_asked("GQA", split)
        }
        questions["1"] = {
            "question": "Unbalanced?",
            "answer": "yes",
            "imageId": "2370799",
            "isBalanced": False,
        }
        save(root / f"{part}_balanced_questions.json", questions)
    picture(root / "images" / "2370799.jpg")


def _viz_wiz(root):
    for split, part in (("train", "train"), ("test", "val")):
        answers = [{"answer": vote, "answer_confidence": "yes"} for vote in VOTES]
        rows = [
            {"image": image, "question": asked, "answers": answers, "answer_type": "other", "answerable": 1}
            for _, asked, _, image in rows_asked("VizWiz", split)
        ]
        save(root / "Annotations" / f"{part}.json", rows)
        for row in rows:
            picture(root / part / row["image"])


def _vqa_v2(root):
    for split, part in (("train", "train2014"), ("test", "val2014")):
        asked = list(rows_asked("VQAv2", split))
        questions = [{"question_id": int(i), "image_id": 262148, "question": q} for i, q, _, _ in asked]
        answers = [
            {"answer": vote, "answer_confidence": "yes", "answer_id": i} for i, vote in enumerate(VOTES, 1)
        ]
        notes = [
            {"question_id": int(i), "image_id": 262148, "multiple_choice_answer": "red", "answers": answers}
            for i, _, _, _ in asked
        ]
        save(root / f"v2_OpenEnded_mscoco_{part}_questions.json", {"questions": questions})
        save(root / f"v2_mscoco_{part}_annotations.json", {"annotations": notes})
        picture(root / part / asked[0][3])


def _ocr_vqa(root):
    book = {
        "imageURL": "http://ecx.images-amazon.com/images/I/51.jpg",
        "questions": [asked for _, asked, _, _ in rows_asked("OCR-VQA", "test")],
        "answers": [answer for _, _, answer, _ in rows_asked("OCR-VQA", "test")],
        "title": "NIV",
        "split": 3,
    }
    save(root / "dataset.json", {"0310807239": book, "1": {**book, "split": 1}, "2": {**book, "split": 2}})
    for name in ("0310807239", "1", "2"):
        picture(root / "images" / f"{name}.jpg")


def _rec(root):
    images = [{"id": 7, "file_name": "COCO_train2014_7.jpg", "width": SIZE[0], "height": SIZE[1]}]
    (_, man), _, (_, dog) = BOXES
    notes = [{"id": 1, "image_id": 7, "bbox": man}, {"id": 2, "image_id": 7, "bbox": dog}]
    save(root / "refcoco" / "instances.json", {"images": images, "annotations": notes})
    spoken = [
        {
            "ref_id": 0,
            "ann_id": 1,
            "image_id": 7,
            "sentences": [{"sent_id": 0, "sent": said} for said, _ in BOXES[:2]],
        },
        {"ref_id": 1, "ann_id": 2, "image_id": 7, "sentences": [{"sent_id": 2, "sent": BOXES[2][0]}]},
    ]
    parts = [
        {**ref, "split": part, "ref_id": f"{part}{ref['ref_id']}"}
        for part in ("train", "testA")
        for ref in spoken
    ]
    save(root / "refcoco" / "refs(unc).json", parts)
    picture(root / "train2014" / "COCO_train2014_7.jpg", SIZE)


_WRITERS = {
    "ScienceQA": _science_qa,
    "TextVQA": _text_vqa,
    "ImageNet": _image_net,
    "GQA": _gqa,
    "VizWiz": _viz_wiz,
    "VQAv2": _vqa_v2,
    "OCR-VQA": _ocr_vqa,
    "REC": _rec,
}
