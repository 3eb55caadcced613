"""Trains the embedded model from nothing: `python -m recipes.tiny_world [--tiny] --output_path DIR`.

1. tower     a CLIP, its patches taught to answer for what they show (vision.py)
2. text      the language model alone learns matching and recall in plain text (text.py)
3. language  projector alignment on captions, then the instruction mixture, the tower frozen (mixture.py)
4. binding   a short last cosine on polls in which colour and kind must belong to one object
5. ssl       a vision-only encoder on the same pictures, without any text (ssl.py)
6. pack      the shipped files, measured through the same tasks a user runs, written to claims.json and index.html

A stage whose output is in DIR is not run again, so a stopped recipe goes on where it was. Between the stages stand gates on
accuracy; every schedule counts steps, so that on one kind of processor the same bytes come out. One torch thread by default: small matrices gain little from a second.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

from recipes.tiny_world.settings import FULL, TINY, Settings


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true", help="a few steps of every stage, to see that it runs")
    parser.add_argument("--output_path", type=Path, default=Path("out/tiny_world"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--stages", default="tower,text,language,binding,ssl,pack")
    parser.add_argument("--install", action="store_true", help="copy DIR's packed model into the package")
    options = parser.parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))
    import torch

    torch.set_num_threads(options.threads)
    output: Path = options.output_path
    output.mkdir(parents=True, exist_ok=True)
    started = time.process_time()

    def log(text: str) -> None:
        line = f"[{time.process_time() - started:7.0f} cpu-s] {text}"
        print(line, flush=True)
        with open(output / "log.txt", "a", encoding="utf-8") as file:
            file.write(line + "\n")

    if options.install:
        from recipes.tiny_world.pack import install

        log(f"installed in {install(output)}")
        return
    run(output, TINY if options.tiny else FULL, options.stages.split(","), log)


def run(output: Path, settings: Settings, stages: list[str], log: Callable[[str], None]) -> None:
    """The stages asked for, in order, each only if its output is not there yet."""
    from recipes.tiny_world.vision import make_clip
    from recipes.tiny_world.vocabulary import make_processor, make_text_tokenizer, make_tokenizer
    from recipes.tiny_world.world import World

    tokenizer = make_tokenizer()
    processor = make_processor(tokenizer)
    world = World.draw(settings.per_set, settings.seed)
    log(f"world of {len(world.pictures)} pictures, {len(tokenizer)} tokens")

    def due(stage: str, made: str) -> bool:
        return stage in stages and not (output / made).exists()

    if due("tower", "clip/model.safetensors"):
        from recipes.tiny_world.tower import build_clip

        build_clip(make_text_tokenizer(tokenizer), world, settings, output, log)
    if due("text", "text.safetensors"):
        from recipes.tiny_world.language import build_text

        clip = make_clip(make_text_tokenizer(tokenizer))  # untrained: this stage sees no picture
        build_text(clip, tokenizer, world.pictures[world.rows["scenes"].start :], settings, output, log)
    if due("language", "mixed/model.safetensors"):
        from transformers import CLIPModel

        from recipes.tiny_world.language import build_llava

        clip = CLIPModel.from_pretrained(output / "clip")
        build_llava(clip, tokenizer, processor, world, settings, output, log)
    if due("binding", "llava/model.safetensors"):
        from recipes.tiny_world.language import build_binding

        build_binding(processor, world, settings, output, log)
    if due("ssl", "ssl/model.safetensors"):
        from recipes.tiny_world.ssl import build_ssl

        build_ssl(world, steps=settings.ssl_steps, seed=settings.seed, output=output, log=log)
    for folder in ("clip", "ssl"):
        (output / folder).mkdir(exist_ok=True)
        processor.image_processor.save_pretrained(output / folder)
    if "pack" in stages:
        from recipes.tiny_world.pack import pack

        pack(output, settings, log)


if __name__ == "__main__":
    main()
