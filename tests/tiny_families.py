"""Random models of many families, saved as their hub directories are, and what each of them can do.

A new family is a function that writes one and an entry in FAMILIES; the tests and the table in docs/models.md follow.

    python -m tests.tiny_families    # prints the table
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.tiny_llava import make_tiny_llava, make_tokenizer

# As byte-level models have it: nothing but the turns' names and the picture's mark.
TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {% for p in m.content %}"
    "{% if p.type == 'image' %}IMAGE{% else %}{{ p.text }}{% endif %}{% endfor %}"
    "{% if m.role == 'assistant' %}</s>{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
_IDS = {"bos_token_id": 1, "eos_token_id": 3, "pad_token_id": 0}
_SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
_TEXT = {
    **_SIZES,
    **_IDS,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
}
_VISION = {**_SIZES, "image_size": 32, "patch_size": 8}
_SIDE = {"height": 32, "width": 32}
_GRIDS = [[32, 64], [64, 32], [64, 64]]


@dataclass(frozen=True)
class Family:
    """One architecture: who writes a tiny one, and what the tests hold it to."""

    make: Callable[[Path], None]
    hub: str  # published models of this architecture
    projector: tuple[str, ...]  # what `linear` trains
    language: str = "model.language_model"  # what `lora` adapts
    several: bool = True  # several pictures per sample
    text_only: bool = True  # samples without a picture
    tower_cache: bool = True  # a frozen tower's features are kept
    mixed: bool = True  # a training batch may mix numbers of pictures
    films: bool = False  # the stock processor wants torchvision, for films
    varied: bool = True  # pictures of different sizes take different numbers of tokens


def make(name: str, directory: Path) -> Path:
    """Writes the family's tiny model; the same bytes every time."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        FAMILIES[name].make(directory)
    return directory


def _tokenizer(*special: str, **named: str) -> tuple[Any, Callable[[str], int]]:
    """A tokenizer with further special tokens; `named` ones are its attributes, too (`image_token=...`)."""
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>", *special, *named.values()]})
    tokenizer._set_model_specific_special_tokens(special_tokens=named)
    return tokenizer, tokenizer.convert_tokens_to_ids


def _save_parts(directory: Path, model: Any, tokenizer: Any, image_processor: Any, **settings: Any) -> None:
    """As the hub has them: the stock processor class cannot be built here without torchvision."""
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    image_processor.save_pretrained(directory)
    (directory / "processor_config.json").write_text(json.dumps(settings))


def _llava(directory: Path) -> None:
    make_tiny_llava(directory)


def _llava_next(directory: Path) -> None:
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaNextConfig,
        LlavaNextForConditionalGeneration,
        LlavaNextProcessor,
    )
    from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

    tokenizer, ids = _tokenizer()
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**_VISION),
        text_config=LlamaConfig(**_TEXT, vocab_size=len(tokenizer)),
        image_token_id=ids("<image>"),
        image_grid_pinpoints=_GRIDS,
    )
    LlavaNextForConditionalGeneration(config).save_pretrained(directory)
    LlavaNextProcessor(
        image_processor=LlavaNextImageProcessorPil(
            size={"shortest_edge": 32}, crop_size=_SIDE, image_grid_pinpoints=_GRIDS
        ),
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE.replace("IMAGE", "<image>\n"),
    ).save_pretrained(directory)


def _llava_onevision(directory: Path) -> None:
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        Qwen2Config,
        SiglipVisionConfig,
    )
    from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
        LlavaOnevisionImageProcessorPil,
    )

    tokenizer, ids = _tokenizer("<video>")
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**_VISION),
        text_config=Qwen2Config(**_TEXT, vocab_size=len(tokenizer)),
        image_token_id=ids("<image>"),
        video_token_id=ids("<video>"),
        image_grid_pinpoints=_GRIDS,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    tokenizer.chat_template = TEMPLATE.replace("IMAGE", "<image>\n")
    _save_parts(
        directory,
        LlavaOnevisionForConditionalGeneration(config),
        tokenizer,
        LlavaOnevisionImageProcessorPil(size=_SIDE, image_grid_pinpoints=_GRIDS),
        processor_class="LlavaOnevisionProcessor",
        num_image_tokens=16,
        vision_feature_select_strategy="full",
    )


def _idefics3(directory: Path) -> None:
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor, LlamaConfig
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    tokenizer, ids = _tokenizer("<fake_token_around_image>", "<end_of_utterance>", "<global-img>")
    config = Idefics3Config(
        vision_config=_VISION,
        text_config=LlamaConfig(**_TEXT, vocab_size=len(tokenizer)),
        image_token_id=ids("<image>"),
        scale_factor=2,
    )
    Idefics3ForConditionalGeneration(config).save_pretrained(directory)
    Idefics3Processor(
        image_processor=Idefics3ImageProcessorPil(
            size={"longest_edge": 64}, max_image_size={"longest_edge": 32}
        ),
        tokenizer=tokenizer,
        image_seq_len=4,
        chat_template=TEMPLATE.replace("IMAGE", "<image>"),
    ).save_pretrained(directory)


def _smolvlm(directory: Path) -> None:
    from transformers import LlamaConfig, SmolVLMConfig, SmolVLMForConditionalGeneration
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

    tokenizer, ids = _tokenizer(
        fake_image_token="<fake_token_around_image>",
        global_image_token="<global-img>",
        end_of_utterance_token="<end_of_utterance>",
        image_token="<image>",
    )
    config = SmolVLMConfig(
        vision_config=_VISION,
        text_config=LlamaConfig(**_TEXT, vocab_size=len(tokenizer)),
        image_token_id=ids("<image>"),
        scale_factor=2,
    )
    tokenizer.chat_template = TEMPLATE.replace("IMAGE", "<image>")
    _save_parts(
        directory,
        SmolVLMForConditionalGeneration(config),
        tokenizer,
        SmolVLMImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32}),
        processor_class="SmolVLMProcessor",
        image_seq_len=4,
    )


def _blip_parts() -> tuple[Any, Any, dict[str, Any]]:
    """Image processor, tokenizer and the sizes that both BLIP-2 families share."""
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    tokenizer, ids = _tokenizer()
    qformer = {
        **_SIZES,
        "vocab_size": len(tokenizer),
        "encoder_hidden_size": 32,
        "max_position_embeddings": 128,
        "initializer_range": 0.2,
    }
    sizes = {
        "vision_config": {**_VISION, "initializer_range": 0.2},
        "qformer_config": qformer,
        "num_query_tokens": 4,
        "image_token_index": ids("<image>"),
    }
    return BlipImageProcessorPil(size=_SIDE), tokenizer, sizes


def _blip2(directory: Path) -> None:
    from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2Processor, OPTConfig

    image_processor, tokenizer, sizes = _blip_parts()
    text = OPTConfig(
        **_IDS,
        hidden_size=32,
        word_embed_proj_dim=32,
        ffn_dim=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=512,
        init_std=0.2,
        vocab_size=len(tokenizer),
        tie_word_embeddings=False,
    )
    model = Blip2ForConditionalGeneration(Blip2Config(**sizes, text_config=text))
    model.query_tokens.data.normal_()
    model.save_pretrained(directory)
    tokenizer.chat_template = TEMPLATE.replace("IMAGE", "")
    Blip2Processor(image_processor, tokenizer, num_query_tokens=4).save_pretrained(directory)


def _instructblip(directory: Path) -> None:
    from transformers import (
        InstructBlipConfig,
        InstructBlipForConditionalGeneration,
        InstructBlipProcessor,
        LlamaConfig,
    )

    image_processor, tokenizer, sizes = _blip_parts()
    text = LlamaConfig(**_TEXT, vocab_size=len(tokenizer))
    model = InstructBlipForConditionalGeneration(InstructBlipConfig(**sizes, text_config=text))
    model.query_tokens.data.normal_()
    model.save_pretrained(directory)
    tokenizer.chat_template = TEMPLATE.replace("IMAGE", "")
    InstructBlipProcessor(
        image_processor, tokenizer, qformer_tokenizer=make_tokenizer(), num_query_tokens=4
    ).save_pretrained(directory)


def _paligemma(directory: Path) -> None:
    from transformers import (
        GemmaConfig,
        PaliGemmaConfig,
        PaliGemmaForConditionalGeneration,
        PaliGemmaProcessor,
        SiglipVisionConfig,
    )
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    tokenizer, ids = _tokenizer()
    image_processor = SiglipImageProcessorPil(size=_SIDE)
    image_processor.image_seq_length = 16
    processor = PaliGemmaProcessor(
        image_processor, tokenizer, chat_template=TEMPLATE.replace("IMAGE", "<image>")
    )
    config = PaliGemmaConfig(
        vision_config=SiglipVisionConfig(**_VISION),
        text_config=GemmaConfig(**_TEXT, head_dim=16, vocab_size=len(processor.tokenizer)),
        image_token_index=ids("<image>"),
        projection_dim=32,
        hidden_size=32,
        tie_word_embeddings=False,  # tied and random it would only repeat what it read
        vocab_size=len(processor.tokenizer),
    )
    PaliGemmaForConditionalGeneration(config).save_pretrained(directory)
    processor.save_pretrained(directory)


def _gemma3(directory: Path) -> None:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3Processor
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    tokenizer, ids = _tokenizer(boi_token="<boi>", eoi_token="<eoi>", image_token="<image>")
    config = Gemma3Config(
        vision_config=_VISION,
        text_config={**_TEXT, "head_dim": 16, "vocab_size": len(tokenizer), "sliding_window": 16},
        image_token_index=ids("<image>"),
        boi_token_index=ids("<boi>"),
        eoi_token_index=ids("<eoi>"),
        mm_tokens_per_image=4,
        tie_word_embeddings=False,
    )
    model = Gemma3ForConditionalGeneration(config)
    model.model.multi_modal_projector.mm_input_projection_weight.data.normal_()  # zeros: no picture would count
    model.save_pretrained(directory)
    Gemma3Processor(
        image_processor=Gemma3ImageProcessorPil(size=_SIDE),
        tokenizer=tokenizer,
        image_seq_length=4,
        chat_template=TEMPLATE.replace("IMAGE", "<boi>"),
    ).save_pretrained(directory)


def _mllama(directory: Path) -> None:
    from transformers import MllamaConfig, MllamaForConditionalGeneration, MllamaProcessor
    from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

    tokenizer, ids = _tokenizer("<|python_tag|>", image_token="<|image|>")
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_global_layers": 1,
        "attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
        "max_num_tiles": 4,
        "intermediate_layers_indices": [0],
        "vision_output_dim": 64,
        "initializer_range": 0.2,
    }
    config = MllamaConfig(
        vision_config=vision,
        # as published, the image token comes right after the vocabulary
        text_config={
            **_TEXT,
            "vocab_size": len(tokenizer) - 1,
            "num_hidden_layers": 3,
            "cross_attention_layers": [1],
        },
        image_token_index=ids("<|image|>"),
    )
    model = MllamaForConditionalGeneration(config)
    for layer in model.model.language_model.layers:
        for gate in ("cross_attn_attn_gate", "cross_attn_mlp_gate"):
            if hasattr(layer, gate):
                getattr(layer, gate).data.fill_(1.0)  # closed at first: the picture would count for nothing
    model.save_pretrained(directory)
    MllamaProcessor(
        image_processor=MllamaImageProcessorPil(size=_SIDE, max_image_tiles=4),
        tokenizer=tokenizer,
        chat_template=TEMPLATE.replace("IMAGE", "<|image|>"),
    ).save_pretrained(directory)


def _qwen(directory: Path, name: str, vision: dict[str, Any], rope: dict[str, Any], **text: Any) -> None:
    """The Qwen-VL generations: patches of pictures of any size in one flat tensor."""
    import transformers
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    tokenizer, ids = _tokenizer("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    config = getattr(transformers, f"{name}Config")(
        text_config={
            **_TEXT,
            **text,
            "vocab_size": len(tokenizer),
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "mrope_section": [2, 3, 3],
                **rope,
            },
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "num_heads": 2,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "in_channels": 3,
            **vision,
        },
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
    )
    tokenizer.chat_template = TEMPLATE.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
    _save_parts(
        directory,
        getattr(transformers, f"{name}ForConditionalGeneration")(config),
        tokenizer,
        Qwen2VLImageProcessorPil(
            patch_size=4, merge_size=2, temporal_patch_size=2, min_pixels=64, max_pixels=1024
        ),
        processor_class=f"{name}Processor",
    )


def _qwen2_vl(directory: Path) -> None:
    _qwen(directory, "Qwen2VL", {"embed_dim": 32, "mlp_ratio": 2}, {})


def _qwen2_5_vl(directory: Path) -> None:
    vision = {
        "intermediate_size": 64,
        "out_hidden_size": 32,
        "window_size": 16,
        "fullatt_block_indexes": [1],
    }
    _qwen(directory, "Qwen2_5_VL", vision, {})


def _qwen3_vl(directory: Path) -> None:
    vision = {
        "intermediate_size": 64,
        "out_hidden_size": 32,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0],
    }
    _qwen(directory, "Qwen3VL", vision, {"mrope_interleaved": True}, head_dim=16)


_PROJECTOR = ("model.multi_modal_projector",)
FAMILIES = {
    "llava": Family(_llava, "LLaVA-1.5", _PROJECTOR, varied=False),
    "llava_next": Family(_llava_next, "LLaVA-1.6 (NeXT)", _PROJECTOR),
    "llava_onevision": Family(_llava_onevision, "LLaVA-OneVision", _PROJECTOR, films=True),
    "idefics3": Family(_idefics3, "Idefics3", ("model.connector",), "model.text_model", tower_cache=False),
    "smolvlm": Family(
        _smolvlm, "SmolVLM", ("model.connector",), "model.text_model", tower_cache=False, films=True
    ),
    "blip2": Family(
        _blip2,
        "BLIP-2 (OPT)",
        ("language_projection",),
        "language_model",
        several=False,
        text_only=False,
        varied=False,
    ),
    "instructblip": Family(
        _instructblip,
        "InstructBLIP (Vicuna)",
        ("language_projection",),
        "language_model",
        several=False,
        text_only=False,
        varied=False,
    ),
    "paligemma": Family(_paligemma, "PaliGemma", _PROJECTOR, text_only=False, varied=False),
    "gemma3": Family(_gemma3, "Gemma 3", _PROJECTOR, varied=False),
    "mllama": Family(_mllama, "Llama 3.2 Vision", _PROJECTOR, tower_cache=False, varied=False, mixed=False),
    "qwen2_vl": Family(_qwen2_vl, "Qwen2-VL", ("model.visual.merger",), tower_cache=False, films=True),
    "qwen2_5_vl": Family(_qwen2_5_vl, "Qwen2.5-VL", ("model.visual.merger",), tower_cache=False, films=True),
    "qwen3_vl": Family(
        _qwen3_vl,
        "Qwen3-VL",
        ("model.visual.deepstack_merger_list", "model.visual.merger"),
        tower_cache=False,
        films=True,
    ),
}


def table() -> str:
    """The families as docs/models.md shows them."""
    rows = [
        "| `model_type` | published as | several pictures | text alone | features kept | trained by `linear` | adapted by `lora` |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, family in FAMILIES.items():
        said = ["yes" if able else "no" for able in (family.several, family.text_only, family.tower_cache)]
        projector = ", ".join(f"`{part}`" for part in family.projector)
        rows.append(f"| `{name}` | {family.hub} | {' | '.join(said)} | {projector} | `{family.language}` |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
