"""Writes tiny random decoder checkpoints and what transformers computes from them.

    python decoders.py OUTPUT_FOLDER [NAME...]

Each checkpoint is a folder of config.json and model.safetensors (bfloat16) as a user would download them, and golden.safetensors:
logits of 80 positions in one causal pass in float32 with eager attention, and the greedy continuation of the first 40 ids by 40.
Needs torch, transformers 5 and safetensors. Norm weights and biases are random too, so that a forgotten one shows.
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

POSITIONS, PROMPT = 80, 40

LLAMA = dict(kind="Llama", hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, vocab_size=128, max_position_embeddings=512, rms_norm_eps=1e-5)
MISTRAL = {**LLAMA, "kind": "Mistral", "sliding_window": None}
QWEN2 = {**LLAMA, "kind": "Qwen2"}
QWEN3 = {**LLAMA, "kind": "Qwen3", "head_dim": 20}
OLMO2 = dict(kind="Olmo2", hidden_size=24, intermediate_size=44, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2,
             vocab_size=56, max_position_embeddings=512, rms_norm_eps=1e-6)

LFM2 = dict(kind="Lfm2", hidden_size=40, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
            vocab_size=112, max_position_embeddings=512, norm_eps=1e-5, block_auto_adjust_ff_dim=False, tie_word_embeddings=False,
            layer_types=["conv", "full_attention", "conv", "full_attention"])


def rope(rope_type, **fields):
    return {"rope_parameters": {"rope_type": rope_type, "rope_theta": 10000.0, **fields}}


CASES = {
    # Head counts, head widths and widths that divide nothing.
    "llama-odd": {**LLAMA, "hidden_size": 60, "intermediate_size": 90, "num_attention_heads": 3, "num_key_value_heads": 1,
                  "head_dim": 16, "vocab_size": 101},
    "llama-heads-5": {**LLAMA, "hidden_size": 40, "num_attention_heads": 5, "num_key_value_heads": 5, "attention_bias": True},
    "llama-groups-8": {**LLAMA, "hidden_size": 64, "num_attention_heads": 8, "num_key_value_heads": 1, "mlp_bias": True},
    "llama-groups-7": {**LLAMA, "hidden_size": 56, "num_attention_heads": 14, "num_key_value_heads": 2, "head_dim": 12,
                       "num_hidden_layers": 3},
    "llama-wide-heads": {**LLAMA, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 128, "num_hidden_layers": 1},
    "llama-head-256": {**LLAMA, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 256, "num_hidden_layers": 1},
    "llama-one-head": {**LLAMA, "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 2, "hidden_size": 33,
                       "intermediate_size": 17, "vocab_size": 37, "tie_word_embeddings": True},
    "llama-biases": {**LLAMA, "attention_bias": True, "mlp_bias": True, "hidden_size": 36, "num_attention_heads": 9,
                     "num_key_value_heads": 3, "head_dim": 10, "intermediate_size": 51},
    # Rope scalings, at lengths on which they matter.
    "llama-linear": {**LLAMA, **rope("linear", factor=4.0)},
    "llama-dynamic": {**LLAMA, "max_position_embeddings": 64, **rope("dynamic", factor=4.0)},
    "llama-dynamic-short": {**LLAMA, "max_position_embeddings": 30, **rope("dynamic", factor=2.0)},
    "llama-llama3": {**LLAMA, **rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                     original_max_position_embeddings=64)},
    "llama-yarn": {**LLAMA, **rope("yarn", factor=8.0, original_max_position_embeddings=64)},
    "llama-yarn-betas": {**LLAMA, **rope("yarn", factor=4.0, original_max_position_embeddings=32, beta_fast=24.0, beta_slow=2.0,
                                         attention_factor=1.25, truncate=False)},
    "llama-longrope": {**LLAMA, **rope("longrope", short_factor=[1.0, 1.1, 1.2, 1.4, 1.6, 2.0],
                                       long_factor=[1.0, 1.5, 2.0, 4.0, 8.0, 16.0], original_max_position_embeddings=60)},
    "llama-longrope-short": {**LLAMA, **rope("longrope", short_factor=[1.0, 1.1, 1.2, 1.4, 1.6, 2.0], factor=4.0,
                                             long_factor=[1.0, 1.5, 2.0, 4.0, 8.0, 16.0], original_max_position_embeddings=128)},
    "mistral-yarn": {**MISTRAL, "sliding_window": 20, **rope("yarn", factor=16.0, original_max_position_embeddings=32)},
    "qwen2-yarn": {**QWEN2, **rope("yarn", factor=4.0, original_max_position_embeddings=128)},
    "qwen3-longrope": {**QWEN3, "head_dim": 8, **rope("longrope", short_factor=[1.0, 1.5, 2.0, 3.0], long_factor=[1.0, 3.0, 9.0, 27.0],
                                                      original_max_position_embeddings=16)},
    # Windows.
    "mistral-full": {**MISTRAL, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 20},
    # With a window of 1 the cache of transformers keeps everything, and its decode path contradicts its full pass.
    "mistral-window-2": {**MISTRAL, "sliding_window": 2},
    "mistral-window-7": {**MISTRAL, "sliding_window": 7, "num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": 14,
                         "tie_word_embeddings": True},
    "mistral-window-79": {**MISTRAL, "sliding_window": 79, "num_attention_heads": 5, "num_key_value_heads": 1, "head_dim": 6,
                          "hidden_size": 50},
    "qwen2-window": {**QWEN2, "num_hidden_layers": 3, "use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1},
    "qwen2-layer-types": {**QWEN2, "num_hidden_layers": 3, "use_sliding_window": True, "sliding_window": 10,
                          "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    "qwen2-window-off": {**QWEN2, "use_sliding_window": False, "sliding_window": 8, "max_window_layers": 0},
    "qwen2-head-dim": {**QWEN2, "head_dim": 22, "num_attention_heads": 7, "num_key_value_heads": 1, "hidden_size": 35,
                       "tie_word_embeddings": True},
    "qwen3-bias": {**QWEN3, "head_dim": 24, "num_attention_heads": 7, "num_key_value_heads": 7, "attention_bias": True,
                   "hidden_size": 49},
    "qwen3-window": {**QWEN3, "num_hidden_layers": 4, "use_sliding_window": True, "sliding_window": 12, "max_window_layers": 2,
                     "tie_word_embeddings": True},
    "qwen3-layer-types": {**QWEN3, "num_hidden_layers": 2, "use_sliding_window": True, "sliding_window": 33,
                          "num_attention_heads": 6, "num_key_value_heads": 1,
                          "layer_types": ["full_attention", "sliding_attention"]},
    "qwen3-theta": {**QWEN3, "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0}},
    # Activations other than silu.
    "llama-gelu": {**LLAMA, "hidden_act": "gelu"},
    "mistral-relu": {**MISTRAL, "hidden_act": "relu"},
    "qwen3-gelu-tanh": {**QWEN3, "hidden_act": "gelu_pytorch_tanh"},
    # The spelling of transformers 4: rope_theta and rope_scaling at the top.
    "llama-older-config": {**LLAMA, "older": True, **rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                                          original_max_position_embeddings=32)},
    # Short convolutions: taps, biases, widths that follow from others, both spellings.
    "lfm2": {**LFM2, "tie_word_embeddings": True},
    "lfm2-liquid": {**LFM2, "liquid": True, "hidden_size": 36, "num_attention_heads": 3, "num_key_value_heads": 1, "intermediate_size": 150,
                    "conv_bias": True, "conv_L_cache": 4, "block_auto_adjust_ff_dim": True, "block_ffn_dim_multiplier": 1.1,
                    "block_multiple_of": 16, "num_hidden_layers": 3, "layer_types": ["conv", "conv", "full_attention"],
                    "tie_word_embeddings": True},
    "lfm2-one-tap": {**LFM2, "conv_L_cache": 1, "layer_types": ["full_attention", "conv", "conv", "conv"]},
    "lfm2-two-taps": {**LFM2, "conv_L_cache": 2, "conv_bias": True, **rope("default", rope_theta=5000.0)},
    "lfm2-seven-taps": {**LFM2, "conv_L_cache": 7, "layer_types": ["conv", "conv", "conv", "full_attention"], "block_auto_adjust_ff_dim": True,
                        "hidden_size": 56},
    "lfm2-attention": {**LFM2, "layer_types": ["full_attention"] * 4},
    # Norms behind the sublayers, and over all heads together.
    "olmo2": {**OLMO2, "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}},
    "olmo2-biases": {**OLMO2, "attention_bias": True, "num_hidden_layers": 4, "num_attention_heads": 4, "head_dim": 10,
                     "tie_word_embeddings": True},
}


def randomise(model, generator):
    with torch.no_grad():
        for name, value in model.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            if value.ndim == 2:
                scale = 1.0 if "embed_tokens" in name and not model.config.tie_word_embeddings else value.shape[1] ** -0.5
                value.copy_(noise * scale)
            elif value.ndim == 3:
                value.copy_(noise * value.shape[2] ** -0.5)
            else:
                value.copy_(noise * 0.2 + (1.0 if "norm" in name else 0.0))
            value.copy_(value.to(torch.bfloat16).float())


def top_gaps(logits):
    best = logits.topk(2, dim=-1).values
    return (best[..., 0] - best[..., 1]).min().item()


def greedy(model, ids):
    """Steps of the cached decode path, as generate runs them with no stop token."""
    cache, tokens, gap, step = transformers.DynamicCache(config=model.config), [], float("inf"), ids
    for _ in range(PROMPT):
        logits = model(step[None], past_key_values=cache, use_cache=True).logits[0, -1]
        gap = min(gap, top_gaps(logits))
        step = logits.argmax()[None]
        tokens.append(step.item())
    return torch.tensor(tokens, dtype=torch.int32), gap


def older_config(config):
    parameters = config.pop("rope_parameters")
    config["rope_theta"] = parameters.pop("rope_theta")
    config["rope_scaling"] = parameters if parameters["rope_type"] != "default" else None
    config["torch_dtype"] = config.pop("dtype")
    return config


def liquid_config(config):
    """The spelling of Liquid AI's own files."""
    config["block_ff_dim"] = config.pop("intermediate_size")
    config["tie_embedding"] = config.pop("tie_word_embeddings")
    config["full_attn_idxs"] = [i for i, kind in enumerate(config.pop("layer_types")) if kind == "full_attention"]
    config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
    return config


def write(folder, seed, kind, older=False, liquid=False, **fields):
    config = getattr(transformers, f"{kind}Config")(
        **fields, bos_token_id=1, eos_token_id=2, pad_token_id=0, attn_implementation="eager", dtype="bfloat16")
    model_class = getattr(transformers, f"{kind}ForCausalLM")
    generator = torch.Generator().manual_seed(seed)
    model = model_class(config).float().eval()
    randomise(model, generator)
    ids = torch.randint(3, config.vocab_size, (POSITIONS,), generator=generator)
    with torch.no_grad():
        out = model(ids[None], output_hidden_states=True, use_cache=False)
        # Some rope types remember the longest sequence seen, so the decode path gets a model of its own.
        fresh = model_class(config).float().eval()
        fresh.load_state_dict(model.state_dict())
        tokens, gap = greedy(fresh, ids[:PROMPT])
    logits = out.logits[0]
    folder.mkdir(parents=True, exist_ok=True)
    save_file({
        "input_ids": ids.int(), "logits": logits.contiguous(), "hidden_first_block": out.hidden_states[1][0].clone(),
        "hidden_last": out.hidden_states[-1][0].clone(), "greedy_prompt": ids[:PROMPT].int(), "greedy_tokens": tokens,
    }, folder / "golden.safetensors")
    model.to(torch.bfloat16).save_pretrained(folder)
    written = json.loads((folder / "config.json").read_text())
    if older:
        written = older_config(written)
    if liquid:
        written = liquid_config(written)
    (folder / "config.json").write_text(json.dumps(written, indent=2, sort_keys=True) + "\n")
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "meta.json").write_text(json.dumps({
        "transformers": transformers.__version__, "torch": torch.__version__, "seed": seed,
        "params": sum(p.numel() for p in model.parameters()), "logit_std": logits.std().item(),
        "min_top2_gap": min(gap, top_gaps(logits)), "greedy_top2_gap": gap,
    }, indent=1) + "\n")
    print(f"{folder.name:24} gap {gap:.2e} distinct {len(set(tokens.tolist()))} logit std {logits.std():.2f}")


if __name__ == "__main__":
    target, names = Path(sys.argv[1]), sys.argv[2:] or list(CASES)
    torch.set_num_threads(1)
    for name in names:
        write(target / name, seed=list(CASES).index(name) + 1, **CASES[name])
