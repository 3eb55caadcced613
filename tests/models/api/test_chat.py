"""What is sent for a sample, and what is made of a reply."""

import base64
import json
from io import BytesIO

import pytest
from PIL import Image

from keepsight.data.pictures import decode
from keepsight.models.api.chat import Unusable, output_of, request_body
from keepsight.models.api.options import ServedOptions
from keepsight.types import Media, Sample
from tests.models.api.conftest import outputs
from tests.models.conftest import picture
from tests.stub_server import chat


def encoded(image: Image.Image, form: str, **settings) -> Media:
    buffer = BytesIO()
    image.save(buffer, form, **settings)
    return Media(data=buffer.getvalue())


def sent(sample: Sample, **options) -> dict:
    return request_body("m", sample, {"max_tokens": 5, "temperature": 0.0}, ServedOptions(**options))


def pictures_of(body: dict) -> list[tuple[str, bytes]]:
    urls = [
        part["image_url"]["url"] for part in body["messages"][0]["content"] if part["type"] == "image_url"
    ]
    return [(url.partition(";")[0], base64.b64decode(url.partition(",")[2])) for url in urls]


def test_the_body_is_what_the_protocol_says():
    assert sent(Sample("a", "Is it?")) == {
        "model": "m",
        "messages": [{"role": "user", "content": "Is it?"}],
        "max_tokens": 5,
        "temperature": 0.0,
    }
    one, two = picture(1), picture(2)
    content = sent(Sample("a", "Left <image> right <image>?", (one, two)))["messages"][0]["content"]
    assert [part.get("text", part["type"]) for part in content] == [
        "Left",
        "image_url",
        "right",
        "image_url",
        "?",
    ]
    before = sent(Sample("a", "What?", (one,)), image_detail="low")["messages"][0]["content"]
    assert [part["type"] for part in before] == ["image_url", "text"]
    assert before[0]["image_url"]["detail"] == "low"


def test_a_dialogue_is_sent_turn_by_turn_with_its_picture_once():
    (picture_part, first), *turns = (
        message["content"]
        for message in sent(Sample("a", "What?", (picture(1),), history=("A cup.", "Sure?")))["messages"]
    )
    assert (picture_part["type"], first["text"], turns) == ("image_url", "What?", ["A cup.", "Sure?"])
    roles = [message["role"] for message in sent(Sample("a", "?", history=("x", "y", "x", "z")))["messages"]]
    assert roles == ["user", "assistant", "user", "assistant", "user"]


def test_extra_fields_replace_and_null_leaves_out():
    body = sent(
        Sample("a", "?"),
        extra_body={"temperature": None, "top_k": 1},
        max_tokens_field="max_completion_tokens",
    )
    assert "temperature" not in body and body["top_k"] == 1 and body["max_completion_tokens"] == 5
    assert "max_tokens" not in body


RGB = Image.linear_gradient("L").resize((30, 20)).convert("RGB")
EXIF = Image.Exif()
EXIF[0x0112] = 6  # turned
KINDS = {
    "png": (encoded(RGB, "PNG"), "data:image/png", True),
    "grey": (encoded(RGB.convert("L"), "PNG"), "data:image/png", True),
    "jpeg": (encoded(RGB, "JPEG"), "data:image/jpeg", True),
    "turned": (encoded(RGB, "JPEG", exif=EXIF), "data:image/png", False),
    "cmyk": (encoded(RGB.convert("CMYK"), "JPEG"), "data:image/png", False),
    "alpha": (encoded(RGB.convert("RGBA"), "PNG"), "data:image/png", False),
    "palette": (encoded(RGB.convert("P"), "PNG"), "data:image/png", False),
    "deep": (encoded(Image.new("I;16", (4, 4), 40000), "PNG"), "data:image/png", False),
    "webp": (encoded(RGB, "WEBP"), "data:image/png", False),
    "animated": (encoded(RGB, "GIF", save_all=True, append_images=[RGB.rotate(90)]), "data:image/png", False),
    "moving png": (
        encoded(RGB, "PNG", save_all=True, append_images=[RGB.rotate(90)]),
        "data:image/png",
        False,
    ),
    "bmp": (encoded(RGB, "BMP"), "data:image/png", False),
}


@pytest.mark.parametrize("kind", KINDS, ids=list(KINDS))
def test_every_picture_goes_in_a_form_that_all_servers_read_alike(kind):
    media, form, untouched = KINDS[kind]
    ((found, data),) = pictures_of(sent(Sample("a", "?", (media,))))
    assert found == form and (data == media.data) == untouched
    with Image.open(BytesIO(data)) as image:
        assert image.mode in ("RGB", "L") and image.convert("RGB").tobytes() == decode(media).tobytes()


@pytest.mark.parametrize(
    "sample",
    [
        Sample("a", "?", (Media(data=b"no picture"),)),
        Sample("a", "?", (Media(data=b"RIFF", kind="audio"),)),
        Sample("a", "<image> and <image>", (picture(1),)),
    ],
)
def test_what_cannot_be_sent_is_a_named_error_of_its_sample(served, stub, sample):
    found = outputs(served(), [sample, Sample("b", "?")])
    assert found[0].error and found[0].text == "" and found[1].text == "a cat" and len(stub.requests) == 1


def test_sampling_sends_a_seed_per_sample_that_a_resumed_run_sends_again(served, stub):
    asked = [Sample("a", "?"), Sample("b", "?")]
    for _ in range(2):
        outputs(served(), asked, temperature=0.7, top_p=0.9, seed=3, batch_size=1)
    outputs(served(), asked[:1], temperature=0.7, seed=4)
    seeds = [request.body["seed"] for request in stub.requests]
    assert seeds[:2] == seeds[2:4] and len(set(seeds)) == 3 and stub.requests[0].body["top_p"] == 0.9
    outputs(served(), asked)
    assert stub.requests[-1].body["temperature"] == 0.0 and "seed" not in stub.requests[-1].body


def read(reply) -> tuple:
    output = output_of(json.loads(reply.body))
    return output.text, output.stop, output.error


READABLE = [
    (chat("a cat"), ("a cat", "eos", None)),
    (chat(""), ("", "eos", None)),
    (chat("a c", finish_reason="length"), ("a c", "length", None)),
    (chat(None, finish_reason="length"), ("", "length", None)),
    (chat(None, refusal="I cannot help with that."), ("I cannot help with that.", "eos", None)),
    (chat([{"type": "text", "text": "a "}, {"type": "text", "text": "cat"}]), ("a cat", "eos", None)),
    (chat([{"type": "thinking", "thinking": []}, {"type": "text", "text": "cat"}]), ("cat", "eos", None)),
    (chat("x", finish_reason=None), ("x", "stop", None)),
    (
        chat("half", finish_reason="content_filter"),
        ("", None, "the server's content filter withheld the answer"),
    ),
    (chat("lone \ud800 surrogate"), ("lone \ud800 surrogate", "eos", None)),
]


@pytest.mark.parametrize(("reply", "said"), READABLE)
def test_replies_as_they_come(reply, said):
    assert read(reply) == said


@pytest.mark.parametrize("content", [7, {"text": "x"}, [7], [{"text": 7}], True])
def test_what_is_no_text_is_no_answer(content):
    with pytest.raises(Unusable):
        read(chat(content))
    with pytest.raises(Unusable):
        read(chat(None, tool_calls=[{"id": "1"}]))


@pytest.mark.parametrize(
    ("usage", "kept"),
    [
        ((12, 3), {"prompt_tokens": 12, "completion_tokens": 3}),
        (None, {}),
        ((-1, 3), {}),
        (("12", 3), {}),
        ((True, 3), {}),
        ((1 << 80, 3), {}),
        ((1.5, 3), {}),
    ],
)
def test_usage_is_recorded_where_it_makes_sense(usage, kept):
    assert output_of(json.loads(chat("x", usage=usage).body)).usage == kept


def test_log_probabilities_come_where_they_are_offered(served, stub):
    tokens = [{"token": "a", "logprob": -0.5}, {"token": " cat", "logprob": -1}]
    stub.answer = lambda request: chat(
        "a cat", logprobs={"content": tokens} if request.body.get("logprobs") else None
    )
    assert outputs(served(logprobs=True), [Sample("a", "?")])[0].token_logprobs == (-0.5, -1.0)
    assert outputs(served(), [Sample("a", "?")])[0].token_logprobs is None
    for odd in (
        {"content": []},
        {"content": [7]},
        {"content": [{"logprob": 10**400}]},
        [],
        {"content": None},
    ):
        stub.answer = lambda request, odd=odd: chat("a cat", logprobs=odd)
        (output,) = outputs(served(logprobs=True), [Sample("a", "?")])
        assert output.text == "a cat" and output.token_logprobs is None
