"""A decoder with the tensor names and the arithmetic of `Qwen3ForCausalLM`, written for fast training.

Parameters are float32 masters; activations are bfloat16 on a GPU. The embedding is also the output head.
"""

from dataclasses import asdict, dataclass

import torch
from torch import nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    head_dim: int = 32
    vocabulary: int = 4096
    context: int = 2048
    rope_theta: float = 10000.0
    epsilon: float = 1e-6


TARGET = Shape(hidden=256, layers=8, heads=8, kv_heads=4, intermediate=704)
DRAFT = Shape(hidden=128, layers=2, heads=4, kv_heads=2, intermediate=160)


def linear(x, weight):
    return F.linear(x, weight.to(x.dtype))


def rms_norm(x, weight, epsilon):
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + epsilon) * weight).to(x.dtype)


def rotate(x, cos, sin):
    low, high = x.float().chunk(2, dim=-1)
    return torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1).to(x.dtype)


def thin(x, dropout):
    """Dropout whose probability is a tensor of no axes, so that one compiled block serves every probability."""
    if dropout is None:
        return x
    kept = torch.rand_like(x, dtype=torch.float32) >= dropout
    return torch.where(kept, x / (1 - dropout).to(x.dtype), 0)


def rope_table(shape, length, device):
    """cos and sin, `[length, head_dim / 2]` each, float32."""
    exponent = torch.arange(0, shape.head_dim, 2, dtype=torch.float64) / shape.head_dim
    angles = torch.outer(torch.arange(length, dtype=torch.float64), shape.rope_theta**-exponent)
    return angles.cos().float().to(device), angles.sin().float().to(device)


def matrix(rows, columns, gain):
    return nn.Parameter(torch.randn(rows, columns) * gain / columns**0.5)


class Weight(nn.Module):
    """A bare `weight`, so that parameters carry their official names."""

    def __init__(self, parameter):
        super().__init__()
        self.weight = parameter


class Attention(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        width = shape.heads * shape.head_dim
        kv_width = shape.kv_heads * shape.head_dim
        self.q_proj = Weight(matrix(width, shape.hidden, 0.6))
        self.k_proj = Weight(matrix(kv_width, shape.hidden, 0.6))
        self.v_proj = Weight(matrix(kv_width, shape.hidden, 0.6))
        self.o_proj = Weight(matrix(shape.hidden, width, 0.6 / (2 * shape.layers) ** 0.5))
        self.q_norm = Weight(nn.Parameter(torch.ones(shape.head_dim)))
        self.k_norm = Weight(nn.Parameter(torch.ones(shape.head_dim)))

    def forward(self, x, cos, sin):
        batch, length, _ = x.shape
        epsilon = self.shape.epsilon

        def split(weight):
            return linear(x, weight).view(batch, length, -1, self.shape.head_dim).transpose(1, 2)

        query = rotate(rms_norm(split(self.q_proj.weight), self.q_norm.weight, epsilon), cos, sin)
        key = rotate(rms_norm(split(self.k_proj.weight), self.k_norm.weight, epsilon), cos, sin)
        mixed = F.scaled_dot_product_attention(
            query, key, split(self.v_proj.weight), is_causal=True, enable_gqa=self.shape.heads != self.shape.kv_heads
        )
        return linear(mixed.transpose(1, 2).reshape(batch, length, -1), self.o_proj.weight)


class Mlp(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.gate_proj = Weight(matrix(shape.intermediate, shape.hidden, 0.6))
        self.up_proj = Weight(matrix(shape.intermediate, shape.hidden, 0.6))
        self.down_proj = Weight(matrix(shape.hidden, shape.intermediate, 0.6 / (2 * shape.layers) ** 0.5))

    def forward(self, x):
        return linear(F.silu(linear(x, self.gate_proj.weight)) * linear(x, self.up_proj.weight), self.down_proj.weight)


class Block(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.epsilon = shape.epsilon
        self.input_layernorm = Weight(nn.Parameter(torch.ones(shape.hidden)))
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = Weight(nn.Parameter(torch.ones(shape.hidden)))
        self.mlp = Mlp(shape)

    def forward(self, x, cos, sin, dropout=None):
        x = x + thin(self.self_attn(rms_norm(x, self.input_layernorm.weight, self.epsilon), cos, sin), dropout)
        return x + thin(self.mlp(rms_norm(x, self.post_attention_layernorm.weight, self.epsilon)), dropout)


class Decoder(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.embed_tokens = Weight(nn.Parameter(torch.randn(shape.vocabulary, shape.hidden) * 0.02))
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = Weight(nn.Parameter(torch.ones(shape.hidden)))


class LanguageModel(nn.Module):
    """`forward` returns the hidden state `[B, T, D]` after the last block, and a dict of those after the blocks in `exits`."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.model = Decoder(shape)
        self.compiled = False

    def compile_blocks(self):
        """Compiles one block and shares the code among all: compile time does not grow with depth."""
        for layer in self.model.layers:
            layer.compile(dynamic=False)
        self.compiled = True

    def forward(self, ids, cos, sin, exits=(), skip=frozenset(), dropout=None, dtype=torch.bfloat16):
        x = F.embedding(ids, self.model.embed_tokens.weight).to(dtype)
        states = {}
        for index, layer in enumerate(self.model.layers):
            if index not in skip:
                x = layer(x, cos, sin, dropout) if self.compiled else layer.forward(x, cos, sin, dropout)
            if index + 1 in exits:
                states[index + 1] = x
        return x, states

    def head(self):
        return self.model.norm.weight, self.model.embed_tokens.weight

    def matrices(self):
        """The parameters that ship quantised where asked: every matrix, the tied embedding last."""
        blocks = [parameter for parameter in self.model.layers.parameters() if parameter.ndim == 2]
        return [*blocks, self.model.embed_tokens.weight]


def logits_of(state, norm_weight, head_weight, epsilon=1e-6):
    return linear(rms_norm(state, norm_weight, epsilon), head_weight)


def next_token_loss(state, norm_weight, head_weight, targets):
    """Mean cross entropy in nats of `targets` `[B, T]` (-100 is left out) given hidden states `[B, T, D]`."""
    logits = logits_of(state, norm_weight, head_weight).float()
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def distillation_loss(state, norm_weight, head_weight, teacher_logits, targets):
    """0.9 KL(teacher || student) + 0.1 cross entropy of the text, in nats per token; and the overlap of the two
    distributions, sum over tokens of min(p, q): the chance that a draft sampled from q is accepted."""
    student = torch.log_softmax(logits_of(state, norm_weight, head_weight).float().flatten(0, 1), -1)
    teacher = torch.log_softmax(teacher_logits.float().flatten(0, 1), -1)
    divergence = (teacher.exp() * (teacher - student)).sum(-1).mean()
    text = F.nll_loss(student, targets.flatten())
    overlap = torch.minimum(teacher.exp(), student.detach().exp()).sum(-1).mean()
    return 0.9 * divergence + 0.1 * text, overlap


def huggingface_config(shape):
    """`config.json` of the checkpoint as `transformers` reads it."""
    return {
        'architectures': ['Qwen3ForCausalLM'],
        'attention_bias': False,
        'attention_dropout': 0.0,
        'bos_token_id': 0,
        'eos_token_id': 0,
        'head_dim': shape.head_dim,
        'hidden_act': 'silu',
        'hidden_size': shape.hidden,
        'initializer_range': 0.02,
        'intermediate_size': shape.intermediate,
        'max_position_embeddings': shape.context,
        'model_type': 'qwen3',
        'num_attention_heads': shape.heads,
        'num_hidden_layers': shape.layers,
        'num_key_value_heads': shape.kv_heads,
        'pad_token_id': 0,
        'rms_norm_eps': shape.epsilon,
        'rope_theta': shape.rope_theta,
        'tie_word_embeddings': True,
        'torch_dtype': 'bfloat16',
        'use_cache': True,
        'use_sliding_window': False,
        'vocab_size': shape.vocabulary,
    }


def describe(shape):
    return asdict(shape)
