"""Random models of the ordinary transformers classes, small enough to build in a blink and saved like real ones.

Nothing here is trained: the answers are noise, but they are the same noise every time.
"""

from __future__ import annotations

from pathlib import Path

CORPUS = (
    "What is the number in the image? Please only answer a single number in 0, 1, 2, 3, 4, 5, 6, 7, 8, 9.",
    "What is the object in the image? Please only answer a single object in circle, square, star, triangle.",
    "The object is a circle. The number is seven. The object is an apple.",
    "Is there a red dog in the image? Please answer yes or no. Yes. No.",
    "USER: Describe the picture in a few words. ASSISTANT: two blue cats left of a green house",
)
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'user' %}USER: "
    "{% for part in message.content %}"
    "{% if part.type == 'image' %}<image>\n{% else %}{{ part.text }}{% endif %}{% endfor %} "
    "{% elif message.role == 'assistant' %}ASSISTANT: {% generation %}"
    "{% for part in message.content %}{{ part.text }}{% endfor %}{{ eos_token }}{% endgeneration %}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def make_tokenizer(vocab_size: int = 400, corpus=CORPUS):
    """A byte-level BPE with `<pad> <s> <unk> </s> <image>` as ids 0 to 4, trained on `corpus`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<s>", "<unk>", "</s>", "<image>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        unk_token="<unk>",
        eos_token="</s>",
        additional_special_tokens=["<image>"],
    )


def make_image_processor(image_size: int = 32):
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    side = {"height": image_size, "width": image_size}
    return CLIPImageProcessorPil(size={"shortest_edge": image_size}, crop_size=side)


def make_tiny_clip(
    directory: str | Path, seed: int = 0, image_size: int = 32, patch: int = 8, hidden: int = 32
) -> Path:
    """Writes a random `CLIPModel` with tokenizer and image processor; its tower fits `make_tiny_llava`'s."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    directory = Path(directory)
    tokenizer = make_tokenizer()
    sizes = {
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    text = {
        **sizes,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 32,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = CLIPConfig(
        text_config=text,
        vision_config={**sizes, "image_size": image_size, "patch_size": patch},
        projection_dim=16,
        initializer_factor=5.0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        CLIPModel(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    make_image_processor(image_size).save_pretrained(directory)
    return directory


def make_tiny_encoder(directory: str | Path, seed: int = 0, image_size: int = 32, hidden: int = 32) -> Path:
    """Writes a random `Dinov2Model` with its image processor."""
    import torch
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(
        hidden_size=hidden, num_hidden_layers=2, num_attention_heads=2, image_size=image_size, patch_size=8
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        Dinov2Model(config).save_pretrained(directory)
    make_image_processor(image_size).save_pretrained(directory)
    return Path(directory)


def make_tiny_llava(
    directory: str | Path,
    seed: int = 0,
    image_size: int = 32,
    patch: int = 8,
    hidden: int = 32,
    layers: int = 2,
    chat_template: str | None = CHAT_TEMPLATE,
    initializer_range: float = 0.2,
    clip_dir: str | Path | None = None,
) -> Path:
    """Writes a random `LlavaForConditionalGeneration` and its `LlavaProcessor` to `directory` and returns it.

    With `clip_dir` the tower is that CLIP's.
    """
    import torch
    from transformers import (
        CLIPModel,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    directory = Path(directory)
    tokenizer = make_tokenizer()
    sizes = {
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "initializer_range": initializer_range,
    }
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**sizes, image_size=image_size, patch_size=patch),
        text_config=LlamaConfig(
            **sizes,
            vocab_size=len(tokenizer),
            max_position_embeddings=512,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            tie_word_embeddings=True,
        ),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        image_seq_length=(image_size // patch) ** 2,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(config)
    if clip_dir is not None:
        model.model.vision_tower.load_state_dict(
            CLIPModel.from_pretrained(clip_dir).vision_model.state_dict()
        )
    processor = LlavaProcessor(
        image_processor=make_image_processor(image_size),
        tokenizer=tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chat_template,
    )
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
    return directory
