"""An export in real models with random weights, SDPA against the package: Transformers, timm and Diffusers.

    python benchmarks/clients.py my_attention --device cuda --dtype float16 --out clients.json

alternates between SDPA and the package in each model. Models of Transformers take the package by name, and the others
call SDPA within `patched()`. It prints both times, how many attentions the kernels have computed, and the largest
difference of the outputs beside the largest output, or how many generated tokens are the same. The package must be
importable. A model whose library is not installed is left out, with a line that says so. A report, not a test: the
times are this machine's.
"""

import argparse
import copy
import importlib
import importlib.metadata
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

SEED = 0
TRANSFORMERS, TIMM, DIFFUSERS = ("transformers", "timm", "diffusers")


@dataclass(frozen=True)
class Client:
    """A model of a library, how it is called, and whether its output is tokens."""

    name: str
    make: Callable[[], Any]
    call: Callable[[Any, torch.device, torch.dtype], torch.Tensor]
    library: str = TRANSFORMERS
    is_tokens: bool = False


def bert() -> Any:
    """BERT base."""
    import transformers

    return transformers.BertModel(transformers.BertConfig())


def vit() -> Any:
    """ViT base with 16 x 16 patches: 197 tokens."""
    import transformers

    return transformers.ViTModel(transformers.ViTConfig())


def whisper() -> Any:
    """The encoder of Whisper small: 1,500 positions."""
    import transformers

    sizes = {"d_model": 768, "encoder_layers": 12, "encoder_attention_heads": 12, "encoder_ffn_dim": 3072}
    return transformers.WhisperModel(transformers.WhisperConfig(decoder_layers=1, **sizes)).get_encoder()


def llama() -> Any:
    """A Llama of 12 layers, 16 heads of 64 that share 4 of keys and values."""
    import transformers

    sizes = {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 12}
    heads = {"num_attention_heads": 16, "num_key_value_heads": 4, "max_position_embeddings": 2048}
    config = transformers.LlamaConfig(vocab_size=8192, **sizes, **heads)
    config.pad_token_id, config.eos_token_id = 0, None
    return transformers.LlamaForCausalLM(config)


def mistral() -> Any:
    """A Mistral of 12 layers, 16 heads of 64 that share 4 of keys and values, and a sliding window of 256 tokens."""
    import transformers

    sizes = {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 12, "sliding_window": 256}
    heads = {"num_attention_heads": 16, "num_key_value_heads": 4, "max_position_embeddings": 2048}
    config = transformers.MistralConfig(vocab_size=8192, **sizes, **heads)
    config.pad_token_id, config.eos_token_id = 0, None
    return transformers.MistralForCausalLM(config)


def timm_vit() -> Any:
    """ViT base as timm has it, without its classifier."""
    import timm

    return timm.create_model("vit_base_patch16_224", num_classes=0, global_pool="")


def dit() -> Any:
    """DiT base with 2 x 2 patches: 12 layers, 12 heads of 64; 256 tokens for an image of 256 x 256 pixels."""
    import diffusers

    sizes = {"num_layers": 12, "num_attention_heads": 12, "attention_head_dim": 64, "out_channels": 8}
    return diffusers.DiTTransformer2DModel(sample_size=32, **sizes)


def _encode_text(batch: int, length: int, padded: bool = False) -> Callable[..., torch.Tensor]:
    def call(model: Any, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        ids = torch.randint(1, 30_000, (batch, length), generator=torch.Generator().manual_seed(SEED)).to(device)
        mask = torch.ones_like(ids)
        if padded:
            mask[:, 3 * length // 4 :] = 0
        out = model(ids, attention_mask=mask).last_hidden_state
        return out[:, : 3 * length // 4] if padded else out

    return call


def _encode_images(batch: int) -> Callable[..., torch.Tensor]:
    def call(model: Any, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        pixels = torch.randn((batch, 3, 224, 224), generator=torch.Generator().manual_seed(SEED)).to(device, dtype)
        return model(pixels).last_hidden_state

    return call


def _embed_images(batch: int) -> Callable[..., torch.Tensor]:
    def call(model: Any, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        return model(torch.randn((batch, 3, 224, 224), generator=torch.Generator().manual_seed(SEED)).to(device, dtype))

    return call


def _denoise(batch: int) -> Callable[..., torch.Tensor]:
    def call(model: Any, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        latents = torch.randn((batch, 4, 32, 32), generator=torch.Generator().manual_seed(SEED)).to(device, dtype)
        labels = torch.arange(batch, device=device)
        return model(latents, timestep=torch.full_like(labels, 500), class_labels=labels).sample

    return call


def _encode_speech(batch: int) -> Callable[..., torch.Tensor]:
    def call(model: Any, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        sound = torch.randn((batch, 80, 3000), generator=torch.Generator().manual_seed(SEED)).to(device, dtype)
        return model(sound).last_hidden_state

    return call


def _prefill(batch: int, length: int) -> Callable[..., torch.Tensor]:
    def call(model: Any, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        ids = torch.randint(1, 8192, (batch, length), generator=torch.Generator().manual_seed(SEED)).to(device)
        return model(ids, attention_mask=torch.ones_like(ids)).logits

    return call


def _generate(batch: int, length: int, tokens: int, **options: Any) -> Callable[..., torch.Tensor]:
    def call(model: Any, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        ids = torch.randint(1, 8192, (batch, length), generator=torch.Generator().manual_seed(SEED)).to(device)
        words = {"max_new_tokens": tokens, "do_sample": False, "attention_mask": torch.ones_like(ids)}
        return model.generate(ids, **words, **options)

    return call


STATIC = {"cache_implementation": "static", "disable_compile": True}
CLIENTS = (
    Client("BERT base, 1 x 512", bert, _encode_text(1, 512)),
    Client("BERT base, 8 x 512", bert, _encode_text(8, 512)),
    Client("BERT base, 1 x 128", bert, _encode_text(1, 128)),
    Client("BERT base, 8 x 512, a quarter padding", bert, _encode_text(8, 512, padded=True)),
    Client("ViT base, 1 image", vit, _encode_images(1)),
    Client("ViT base, 8 images", vit, _encode_images(8)),
    Client("Whisper small's encoder, 30 s", whisper, _encode_speech(1)),
    Client("Llama, 1 x 512, prefill", llama, _prefill(1, 512)),
    Client("Llama, 1 x 512 + 64 tokens, dynamic cache", llama, _generate(1, 512, 64), is_tokens=True),
    Client("Llama, 1 x 512 + 64 tokens, static cache", llama, _generate(1, 512, 64, **STATIC), is_tokens=True),
    Client("Mistral, 1 x 1024, prefill", mistral, _prefill(1, 1024)),
    Client("timm's ViT base, 1 image", timm_vit, _embed_images(1), TIMM),
    Client("timm's ViT base, 8 images", timm_vit, _embed_images(8), TIMM),
    Client("DiT base, 1 image and its guidance", dit, _denoise(2), DIFFUSERS),
    Client("DiT base, 4 images and their guidance", dit, _denoise(8), DIFFUSERS),
)


def compare(
    client: Client, model: Any, package: Any, device: torch.device, dtype: torch.dtype, rounds: int
) -> dict[str, Any]:
    """Times a client's model by SDPA and by the package, in turns."""
    contestants = _contestants(client, model, package, device, dtype)
    outputs, kernels, calls = {}, 0, 0
    for name, call in contestants.items():
        call()  # builds what has not been built, outside the count
        before = package.stats()
        outputs[name] = call()
        after = package.stats()
        kernels = sum(after[key] - before[key] for key in after if key != "SDPA")
        calls = sum(after.values()) - sum(before.values())
    expected, out = outputs.values()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, call in contestants.items():
            seconds[name].append(_seconds(call, device))
    sdpa, ours = (statistics.median(each) for each in seconds.values())
    ratios = sorted(theirs / mine for theirs, mine in zip(*seconds.values(), strict=True))  # of neighbours in time
    row: dict[str, Any] = {"client": client.name, "sdpa_ms": 1e3 * sdpa, "ours_ms": 1e3 * ours}
    row |= {
        "speedup": statistics.median(ratios),
        "quartiles": [ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]],
    }
    if client.is_tokens:
        row |= _tokens(model, expected, out)
    else:
        row["max_difference"] = (expected.float() - out.float()).abs().max().item()
        row["max_output"] = expected.float().abs().max().item()
    return {**row, "by_kernels": kernels, "attentions": calls}


def _contestants(
    client: Client, model: Any, package: Any, device: torch.device, dtype: torch.dtype
) -> dict[str, Callable[[], torch.Tensor]]:
    """Calls of the model by SDPA and by the package."""
    ours = copy.deepcopy(model)

    def call_patched() -> torch.Tensor:
        with package.patched():
            return client.call(ours, device, dtype)

    if client.library != TRANSFORMERS:
        return {"sdpa": lambda: client.call(model, device, dtype), "ours": call_patched}
    model.set_attn_implementation("sdpa")
    ours.set_attn_implementation(package.register_with_transformers())
    return {"sdpa": lambda: client.call(model, device, dtype), "ours": lambda: client.call(ours, device, dtype)}


def _tokens(model: Any, expected: torch.Tensor, out: torch.Tensor) -> dict[str, Any]:
    """How many tokens are the same from the beginning on, and how near two choices were at the first that is not.

    After that the inputs differ, and so does the rest.
    """
    different = (expected != out).any(dim=0).nonzero()
    if not len(different):
        return {"same_tokens": f"{expected.numel()} of {expected.numel()}"}
    first = int(different[0])
    logits = model(expected[:, :first]).logits[:, -1].float()
    best = logits.topk(2).values
    return {
        "same_tokens": f"the first {first} of {expected.shape[1]}",
        "margin": (best[:, 0] - best[:, 1]).min().item(),
        "largest_logit": logits.abs().max().item(),
    }


def _seconds(call: Callable[[], Any], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    begin = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def main() -> None:
    """Compares all clients; prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", help="name of the exported package")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float16")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--only", default="", help="a part of the clients' names")
    parser.add_argument("--out", help="JSON")
    arguments = parser.parse_args()
    package, device = importlib.import_module(arguments.package), torch.device(arguments.device)
    dtype = getattr(torch, arguments.dtype)
    rows, libraries = [], set[str]()
    with torch.no_grad():
        for client in CLIENTS:
            if arguments.only not in client.name:
                continue
            torch.manual_seed(SEED)
            try:
                model = client.make().eval().to(device, dtype)
            except ModuleNotFoundError as error:
                print(f"{client.name:42} left out: {error.name} is not installed", flush=True)
                continue
            row = compare(client, model, package, device, dtype, arguments.rounds)
            rows.append(row)
            libraries.add(client.library)
            same = row.get("same_tokens") or f"{row['max_difference']:.1e} of {row['max_output']:.1f}"
            if "margin" in row:
                same += f", where two logits differ by {row['margin']:.1e} of {row['largest_logit']:.1f}"
            low, high = row["quartiles"]
            times = f"{row['sdpa_ms']:9.2f} {row['ours_ms']:9.2f} ms {row['speedup']:.2f}x [{low:.2f}, {high:.2f}]"
            print(
                f"{client.name:42} {times}  {row['by_kernels']} of {row['attentions']} by kernels; {same}", flush=True
            )
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    versions = {each: importlib.metadata.version(each) for each in ("torch", *sorted(libraries))}
    found = {"device": name, **versions, "clients": rows}
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=1)


if __name__ == "__main__":
    main()
