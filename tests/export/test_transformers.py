"""The export as an attention implementation of Hugging Face Transformers: models with random weights, on the CPU."""

import copy
import importlib
from types import ModuleType
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers", reason="Transformers is not installed")

SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}  # head size 16


@pytest.fixture(scope="module")
def name(module: ModuleType) -> str:
    return module.register_with_transformers()


def bert() -> Any:
    return transformers.BertModel(transformers.BertConfig(vocab_size=99, **SIZES)).eval()


def llama() -> Any:
    config = transformers.LlamaConfig(vocab_size=99, num_key_value_heads=2, max_position_embeddings=128, **SIZES)
    config.pad_token_id, config.eos_token_id = 0, None
    return transformers.LlamaForCausalLM(config).eval()


def vit() -> Any:
    return transformers.ViTModel(transformers.ViTConfig(image_size=16, patch_size=4, **SIZES)).eval()


def whisper() -> Any:
    sizes = {"d_model": 64, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 64}
    decoder = {"decoder_layers": 1, "decoder_attention_heads": 4, "decoder_ffn_dim": 64}
    config = transformers.WhisperConfig(num_mel_bins=8, max_source_positions=30, vocab_size=99, **sizes, **decoder)
    config.pad_token_id = config.bos_token_id = config.eos_token_id = config.decoder_start_token_id = 1
    return transformers.WhisperModel(config).get_encoder().eval()


def by(model: Any, implementation: str) -> Any:
    changed = copy.deepcopy(model)
    changed.set_attn_implementation(implementation)
    return changed


def counted(module: ModuleType, call) -> tuple[torch.Tensor, int]:
    """What a call gives, and how many attentions the kernel has computed in it."""
    (kernel,) = set(module.stats()) - {"SDPA"}
    before = module.stats()[kernel]
    with torch.no_grad():
        return call(), module.stats()[kernel] - before


@pytest.mark.parametrize("mask", [None, "whole", "padded"])
def test_bert(module: ModuleType, name: str, mask: str | None):
    torch.manual_seed(0)
    model = bert()
    ids = torch.randint(0, 99, (2, 12))
    options = {}
    if mask is not None:
        options["attention_mask"] = torch.ones_like(ids)
        if mask == "padded":
            options["attention_mask"][1, 9:] = 0
    expected, none = counted(module, lambda: by(model, "sdpa")(ids, **options).last_hidden_state)
    out, calls = counted(module, lambda: by(model, name)(ids, **options).last_hidden_state)
    assert (none, calls) == (0, 0 if mask == "padded" else 2)
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize(("make", "inputs"), [(vit, (1, 3, 16, 16)), (whisper, (2, 8, 60))])
def test_encoders(module: ModuleType, name: str, make, inputs: tuple[int, ...]):
    torch.manual_seed(0)
    model, x = make(), torch.randn(inputs)
    expected, _ = counted(module, lambda: by(model, "sdpa")(x).last_hidden_state)
    out, calls = counted(module, lambda: by(model, name)(x).last_hidden_state)
    assert calls == 2
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("kept", ["dynamic", "static"])
@pytest.mark.parametrize("padded", [False, True])
def test_llama_generates_the_same_tokens(module: ModuleType, name: str, kept: str, padded: bool):
    """The kernel of this test has no causal mask, so it computes the decoding: 5 of 6 tokens in 2 layers."""
    torch.manual_seed(0)
    model, ids = llama(), torch.randint(1, 99, (2, 9))
    mask = torch.ones_like(ids)
    if padded:
        ids[0, :3], mask[0, :3] = 0, 0
    options = {"max_new_tokens": 6, "do_sample": False, "attention_mask": mask}
    if kept == "static":
        options |= {"cache_implementation": "static", "disable_compile": True}
    expected, _ = counted(module, lambda: by(model, "sdpa").generate(ids, **options))
    tokens, calls = counted(module, lambda: by(model, name).generate(ids, **options))
    assert torch.equal(tokens, expected)
    assert calls == (0 if padded else 2 * 5)


def ways(module: ModuleType, call: Any) -> tuple[torch.Tensor, dict[str, int]]:
    """What a call gives, and which kernels, by what they are for, have computed how many attentions in it."""
    table = module._operators.table()
    features = list(module._operators.FEATURES)
    names: dict[str, str] = {row["name"]: "+".join(each for each in features if row.get(each)) for row in table}
    before = module.stats()
    with torch.no_grad():
        out = call()
    after = module.stats()
    counted = {str(name): after[name] - before[name] for name in after}
    return out, {names.get(name, name): count for name, count in counted.items() if count}


@pytest.mark.parametrize("left", [False, True])
def test_a_padded_batch_goes_to_a_kernel_that_takes_masks(featured: ModuleType, left: bool):
    torch.manual_seed(0)
    model, ids = bert(), torch.randint(0, 99, (2, 12))
    mask = torch.ones_like(ids)
    mask[1, :3] = mask[1, :3] if not left else 0
    mask[1, 9:] = 0
    expected = by(model, "sdpa")(ids, attention_mask=mask).last_hidden_state
    ours = by(model, featured.register_with_transformers())
    out, found = ways(featured, lambda: ours(ids, attention_mask=mask).last_hidden_state)
    assert found == {"attn_mask": 2}
    torch.testing.assert_close(out, expected)
    if not left:
        compiled = torch.compile(ours, backend="eager", fullgraph=True)
        out, found = ways(featured, lambda: compiled(ids, attention_mask=mask).last_hidden_state)
        assert found == {"attn_mask": 2}
        torch.testing.assert_close(out, expected)


def mistral(window: int) -> Any:
    config = transformers.MistralConfig(
        vocab_size=99, num_key_value_heads=2, max_position_embeddings=128, sliding_window=window, **SIZES
    )
    config.pad_token_id, config.eos_token_id = 0, None
    return transformers.MistralForCausalLM(config).eval()


@pytest.mark.parametrize(
    ("padded", "window", "by_kernel"), [(False, 5, "window"), (True, 5, "attn_mask"), (False, 50, "causal")]
)
def test_a_sliding_window_goes_to_a_kernel_with_a_window(
    featured: ModuleType, padded: bool, window: int, by_kernel: str
):
    torch.manual_seed(0)
    model, ids = mistral(window), torch.randint(1, 99, (2, 12))
    mask = torch.ones_like(ids)
    if padded:
        ids[0, :3], mask[0, :3] = 0, 0
    expected = by(model, "sdpa")(ids, attention_mask=mask).logits
    ours = by(model, featured.register_with_transformers())
    out, found = ways(featured, lambda: ours(ids, attention_mask=mask).logits)
    assert found == {by_kernel: 2}
    torch.testing.assert_close(out[mask > 0], expected[mask > 0])
    options = {"max_new_tokens": 6, "do_sample": False, "attention_mask": mask}
    expected = by(model, "sdpa").generate(ids, **options)
    tokens, found = ways(featured, lambda: ours.generate(ids, **options))
    assert torch.equal(tokens, expected)
    assert found[by_kernel] >= 2


def test_soft_caps_and_sinks_are_computed_as_eager_does(featured: ModuleType):
    """Of Gemma 2 and gpt-oss, which Transformers' own SDPA refuses or computes without them."""
    attend = importlib.import_module("exported_features._transformers")._attention
    q, k = torch.randn(2, 4, 6, 16), torch.randn(2, 2, 6, 16)
    mask = torch.rand(2, 1, 6, 6) > 0.2
    mask[..., 0] = True
    layer: Any = torch.nn.Module()
    layer.is_causal, layer.num_key_value_groups = True, 2
    sinks = torch.randn(4)
    gemma = importlib.import_module("transformers.models.gemma2.modeling_gemma2").eager_attention_forward
    oss = importlib.import_module("transformers.models.gpt_oss.modeling_gpt_oss").eager_attention_forward
    additive = torch.where(mask, 0.0, torch.finfo(torch.float32).min)
    causal = torch.full((6, 6), torch.finfo(torch.float32).min).triu(1)[None, None]
    layer.training, layer.sinks = False, sinks
    out, found = ways(featured, lambda: attend(layer, q, k, k, mask, softcap=3.0, scaling=0.25)[0])
    assert found == {"attn_mask+softcap": 1}
    torch.testing.assert_close(out, gemma(layer, q, k, k, additive, softcap=3.0, scaling=0.25)[0])
    out, found = ways(featured, lambda: attend(layer, q, k, k, None, s_aux=sinks, scaling=0.25)[0])
    assert found == {"causal+sinks": 1}
    torch.testing.assert_close(out, oss(layer, q, k, k, causal, scaling=0.25)[0])
    with pytest.raises(ValueError, match="no dropout"):
        attend(layer, q, k, k, None, dropout=0.5, s_aux=sinks)


def test_gradients_and_compilation(module: ModuleType, name: str):
    torch.manual_seed(0)
    model, ids = bert(), torch.randint(0, 99, (1, 12))
    found = []
    for implementation in ("sdpa", name):
        changed = by(model, implementation)
        changed(ids).last_hidden_state.square().sum().backward()
        found.append([each.grad for each in changed.parameters() if each.grad is not None])
    assert len(found[0]) == len(found[1]) > 10
    for theirs, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)
    compiled = torch.compile(by(model, name), backend="eager", fullgraph=True)
    out, calls = counted(module, lambda: compiled(ids).last_hidden_state)
    assert calls == 2
    torch.testing.assert_close(out, by(model, "sdpa")(ids).last_hidden_state)


def test_a_bias_over_all_keys_of_a_cache_is_kept_whole(module: ModuleType):
    """One query sees the first keys of a static cache, and the model adds a bias for each of its places."""
    forward = importlib.import_module("transformers.integrations.sdpa_attention").sdpa_attention_forward
    attention = importlib.import_module("exported_plain._transformers")._attention
    q, k = torch.randn(2, 4, 1, 16), torch.randn(2, 4, 9, 16)
    mask = torch.zeros(2, 1, 1, 9, dtype=torch.bool)
    mask[..., :5] = True
    layer = torch.nn.Module()
    for options in ({"position_bias": torch.randn(2, 4, 1, 9)}, {}):
        out, _ = attention(layer, q, k, k, mask, **options)
        torch.testing.assert_close(out, forward(layer, q, k, k, mask, **options)[0])


@pytest.mark.parametrize("word", ["flash", "sdpa", "flex_attention", "eager", "paged"])
def test_a_name_that_transformers_misreads_is_refused(module: ModuleType, word: str):
    with pytest.raises(ValueError, match=f"its own '{word}'; choose"):
        module.register_with_transformers(f"my_{word}_attention")


def test_the_default_name_of_an_export_is_not_misread():
    rendering = importlib.import_module("evoflash.export.rendering")
    winner = importlib.import_module("tests.export.conftest").cpu_winner("evoflash_attention_mission_float16")
    text = rendering.files(winner)["evoflash_attention_mission_float16/_transformers.py"]
    assert 'DEFAULT = "evo_attention_mission_float16"' in text
