"""What heads are made of: a llama layer whose attention can be unrolled, and a loss over the tokens that matter in a batch."""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

sys.path.append(str(Path(__file__).resolve().parent.parent))
from model import Weight, linear, matrix, rms_norm, rotate  # noqa: E402, F401

EPSILON = 1e-6


@dataclass(frozen=True)
class LayerShape:
    inputs: int
    heads: int
    kv_heads: int
    intermediate: int
    hidden: int = 256
    head_dim: int = 32
    head_norms: bool = False


def ones(width):
    return Weight(nn.Parameter(torch.ones(width)))


class HeadAttention(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        width, kv_width = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        self.q_proj = Weight(matrix(width, shape.inputs, 0.6))
        self.k_proj = Weight(matrix(kv_width, shape.inputs, 0.6))
        self.v_proj = Weight(matrix(kv_width, shape.inputs, 0.6))
        self.o_proj = Weight(matrix(shape.hidden, width, 0.1))
        if shape.head_norms:
            self.q_norm, self.k_norm = ones(shape.head_dim), ones(shape.head_dim)

    def heads(self, x, name, cos, sin):
        """`[B, T, D]` to `[B, heads, T, E]`, turned by position (values are not)."""
        batch, length, _ = x.shape
        out = linear(x, getattr(self, f'{name}_proj').weight).view(batch, length, -1, self.shape.head_dim).transpose(1, 2)
        if name == 'v':
            return out
        if self.shape.head_norms:
            out = rms_norm(out, getattr(self, f'{name}_norm').weight, EPSILON)
        return rotate(out, cos, sin)

    def output(self, mixed):
        batch, _, length, _ = mixed.shape
        return linear(mixed.transpose(1, 2).reshape(batch, length, -1), self.o_proj.weight)


class HeadMlp(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.gate_proj = Weight(matrix(shape.intermediate, shape.hidden, 0.6))
        self.up_proj = Weight(matrix(shape.intermediate, shape.hidden, 0.6))
        self.down_proj = Weight(matrix(shape.hidden, shape.intermediate, 0.1))

    def forward(self, x):
        return linear(F.silu(linear(x, self.gate_proj.weight)) * linear(x, self.up_proj.weight), self.down_proj.weight)


def shift(x, rows, axis):
    """Moves rows on along `axis`; zeros come in."""
    if rows == 0:
        return x
    zeros = torch.zeros_like(x.narrow(axis, 0, rows))
    return torch.cat((zeros, x.narrow(axis, 0, x.shape[axis] - rows)), axis)


def unrolled_attention(query, steps):
    """Attention of step j = `len(steps) - 1` of a head that goes on from its own output (training-time test of EAGLE-3).

    Row r of step j ends a draft that began at row r - j: it sees the rows of step 0 (true features) up to r - j and row
    r - j + i of step i. `steps` holds keys and values `[B, K, T, E]` of each step; `query` is `[B, H, T, E]`.
    """
    (keys, values), later = steps[0], steps[1:]
    if not later:
        return F.scaled_dot_product_attention(query, keys, values, is_causal=True, enable_gqa=query.shape[1] != keys.shape[1])
    batch, heads, length, width = query.shape
    groups = keys.shape[1]
    grouped = query.reshape(batch, groups, -1, width)
    scores = (grouped @ keys.mT).view(batch, groups, -1, length, length)
    row = torch.arange(length)
    scores = scores.masked_fill(row[None] > row[:, None] - len(later), -torch.inf)
    own = [(shift(k, len(later) - 1 - i, 2), shift(v, len(later) - 1 - i, 2)) for i, (k, v) in enumerate(later)]
    split = query.view(batch, groups, -1, length, width)
    diagonals = [(split * k[:, :, None]).sum(-1, keepdim=True) for k, _ in own]
    weights = torch.softmax(torch.cat((scores, *diagonals), -1).float() * width**-0.5, -1).to(query.dtype)
    mixed = (weights[..., :length].reshape(batch, groups, -1, length) @ values).view(batch, groups, -1, length, width)
    for i, (_, v) in enumerate(own):
        mixed = mixed + weights[..., length + i, None] * v[:, :, None]
    return mixed.reshape(batch, heads, length, width)


class SoftCrossEntropy(torch.autograd.Function):
    """`sum(weight * H(p, softmax(hidden tableᵀ)))`; only `hidden` `[N, D]` gets a gradient, so one pass makes both."""

    @staticmethod
    def forward(context, hidden, table, p, weight):
        logits = (hidden @ table.T).float()
        logs = torch.log_softmax(logits, -1)
        loss = -(p * logs).sum(-1)
        slope = ((logs.exp_() - p) * weight[:, None]).to(hidden.dtype) @ table
        context.save_for_backward(slope)
        return (loss * weight).sum()

    @staticmethod
    def backward(context, gradient):
        (slope,) = context.saved_tensors
        return slope * gradient.to(slope.dtype), None, None, None
