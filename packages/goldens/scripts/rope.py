"""Writes fixtures/rope/frequencies.json: inverse frequencies and attention factors of every rope type, by transformers.

Run with transformers 5 and torch: `python packages/goldens/scripts/rope.py`.
"""

import json
import pathlib

import torch
from transformers import LlamaConfig, __version__
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

OUT = pathlib.Path(__file__).parent.parent / "fixtures" / "rope" / "frequencies.json"


def case(name, head_dim, max_positions, parameters, *, old=None, seq_len=None, top=None):
    config = LlamaConfig(
        hidden_size=head_dim * 2, num_attention_heads=2, head_dim=head_dim, max_position_embeddings=max_positions,
        rope_parameters=dict(parameters), **(top or {}),
    )
    kind = parameters["rope_type"]
    if kind == "default":
        speeds, factor = LlamaRotaryEmbedding.compute_default_rope_parameters(config)
    else:
        length = None if seq_len is None else torch.tensor(seq_len)
        speeds, factor = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"), seq_len=length)
    written = {"max_position_embeddings": max_positions, **(top or {})}
    if old:
        written |= {"rope_theta": parameters["rope_theta"], "rope_scaling": old}
    else:
        written["rope_parameters"] = parameters
    return {
        "name": name, "config": written, "headDim": head_dim, "span": seq_len or 1,
        "attentionFactor": factor, "radians": [float(x) for x in speeds],
    }


def factors(pairs, step):
    return [round(1 + step * i, 3) for i in range(pairs)]


llama3 = {"rope_theta": 500000.0, "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 8192}
long = {"rope_theta": 10000.0, "rope_type": "longrope", "short_factor": factors(24, 0.02), "long_factor": factors(24, 1.3),
        "original_max_position_embeddings": 4096}
yarn = {"rope_theta": 1000000.0, "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
dynamic = {"rope_theta": 10000.0, "rope_type": "dynamic", "factor": 2.0}

cases = [
    case("default", 64, 2048, {"rope_theta": 10000.0, "rope_type": "default"}),
    case("default, base 1e6, width 128", 128, 2048, {"rope_theta": 1000000.0, "rope_type": "default"}),
    case("linear", 64, 2048, {"rope_theta": 10000.0, "rope_type": "linear", "factor": 4.0}),
    case("linear, old style, partial", 80, 2048,
         {"rope_theta": 10000.0, "rope_type": "linear", "factor": 2.5, "partial_rotary_factor": 0.4},
         old={"type": "linear", "factor": 2.5, "partial_rotary_factor": 0.4}),
    case("llama3", 64, 131072, llama3),
    case("llama3, old style", 128, 131072, {**llama3, "factor": 8.0},
         old={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
              "original_max_position_embeddings": 8192}),
    case("yarn", 128, 131072, yarn),
    case("yarn, attention factor, no truncation", 64, 131072,
         {**yarn, "rope_theta": 150000.0, "factor": 32.0, "original_max_position_embeddings": 4096, "truncate": False,
          "beta_fast": 32.0, "beta_slow": 1.0, "attention_factor": 1.25}),
    case("yarn, mscale", 64, 163840,
         {**yarn, "rope_theta": 10000.0, "factor": 40, "original_max_position_embeddings": 4096, "mscale": 1.0,
          "mscale_all_dim": 0.707}),
    case("longrope, short", 48, 131072, long, seq_len=4096),
    case("longrope, long", 48, 131072, long, seq_len=4097),
    case("longrope, factor, partial", 64, 131072, {**long, "factor": 16.0, "partial_rotary_factor": 0.75}, seq_len=9000),
    case("dynamic, short", 64, 2048, dynamic, seq_len=100),
    case("dynamic, at the edge", 64, 2048, dynamic, seq_len=2048),
    case("dynamic, one past", 64, 2048, dynamic, seq_len=2049),
    case("dynamic, long", 64, 2048, {**dynamic, "factor": 4.0}, seq_len=7001),
    case("proportional", 64, 2048, {"rope_theta": 10000.0, "rope_type": "proportional", "partial_rotary_factor": 0.25}),
    case("proportional, factor", 96, 2048,
         {"rope_theta": 1000000.0, "rope_type": "proportional", "partial_rotary_factor": 0.5, "factor": 8.0}),
]
OUT.parent.mkdir(parents=True, exist_ok=True)
OUT.write_text(json.dumps({"source": f"transformers {__version__}, torch {torch.__version__}", "cases": cases}) + "\n")
print(f"{len(cases)} cases, {OUT.stat().st_size} bytes")
