"""Four kinds of heads for the story model, with the tensor names of their published formats.

All of them read the frozen target's embedding and end in its output head.
"""

import torch
from layers import EPSILON, HeadAttention, HeadMlp, LayerShape, ones, unrolled_attention
from model import Weight, linear, matrix, rms_norm
from torch import nn
from torch.nn import functional as F

HIDDEN = 256
# Residual streams that enter these layers of the target.
TAPS = (2, 5, 7)
BLOCK_TAPS = (5, 7)
BLOCK_SIZE = 6
MEDUSA_HEADS = 4
# A token that the tokenizer has and no text uses; block drafters read it as "to be guessed".
MASK_TOKEN = 111


class Medusa(nn.Module):
    """`x + silu(W x + b)` for each head (Cai et al. 2024); head i guesses the token i + 2 behind the hidden state's own."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(HIDDEN, HIDDEN) for _ in range(MEDUSA_HEADS))
        for block in self.blocks:
            nn.init.zeros_(block.weight)
            nn.init.zeros_(block.bias)

    def forward(self, hidden, head):
        block = self.blocks[head]
        return hidden + F.silu(F.linear(hidden, block.weight.to(hidden.dtype), block.bias.to(hidden.dtype)))


class SharedHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = ones(HIDDEN)


class Mtp(nn.Module):
    """The module of DeepSeek-V3 with the layer of GLM-4.5, dense: `[enorm(e); hnorm(h)]` through `eh_proj` and a block."""

    shape = LayerShape(inputs=HIDDEN, heads=8, kv_heads=4, intermediate=256, head_norms=True)
    steps = 3

    def __init__(self):
        super().__init__()
        self.enorm, self.hnorm = ones(HIDDEN), ones(HIDDEN)
        self.eh_proj = Weight(torch.nn.Parameter(torch.cat((matrix(HIDDEN, HIDDEN, 0.5), torch.eye(HIDDEN)), 1)))
        self.input_layernorm, self.post_attention_layernorm = ones(HIDDEN), ones(HIDDEN)
        self.self_attn, self.mlp = HeadAttention(self.shape), HeadMlp(self.shape)
        self.shared_head = SharedHead()

    def begin(self, target):
        return target.hidden

    def step(self, features, embedded, steps, cos, sin):
        """`(hidden, recycled)`: what the output head reads, and the features of the next step."""
        parts = (rms_norm(embedded, self.enorm.weight, EPSILON), rms_norm(features, self.hnorm.weight, EPSILON))
        x = linear(torch.cat(parts, -1), self.eh_proj.weight)
        x = attend(self, x, rms_norm(x, self.input_layernorm.weight, EPSILON), steps, cos, sin)
        out = rms_norm(x, self.shared_head.norm.weight, EPSILON)
        return out, out


class MidLayer(nn.Module):
    shape = LayerShape(inputs=2 * HIDDEN, heads=4, kv_heads=2, intermediate=256)

    def __init__(self):
        super().__init__()
        self.hidden_norm, self.input_layernorm, self.post_attention_layernorm = ones(HIDDEN), ones(HIDDEN), ones(HIDDEN)
        self.self_attn, self.mlp = HeadAttention(self.shape), HeadMlp(self.shape)


class Eagle3(nn.Module):
    """EAGLE-3 (Li et al. 2025) with the target's output head and vocabulary."""

    steps = 4

    def __init__(self):
        super().__init__()
        fc = torch.cat([matrix(HIDDEN, HIDDEN, 0.1) for _ in TAPS], 1).detach()
        fc[:, -HIDDEN:] += torch.eye(HIDDEN)
        self.fc = Weight(nn.Parameter(fc))
        self.midlayer = MidLayer()
        self.norm = ones(HIDDEN)

    def begin(self, target):
        return linear(torch.cat(target.taps, -1), self.fc.weight)

    def step(self, features, embedded, steps, cos, sin):
        layer = self.midlayer
        parts = (
            rms_norm(embedded, layer.input_layernorm.weight, EPSILON),
            rms_norm(features, layer.hidden_norm.weight, EPSILON),
        )
        x = attend(layer, features, torch.cat(parts, -1), steps, cos, sin)
        return rms_norm(x, self.norm.weight, EPSILON), x


def attend(layer, residual, x, steps, cos, sin):
    """Residual block whose keys and values of this step are put behind those in `steps`."""
    attention = layer.self_attn
    steps.append((attention.heads(x, 'k', cos, sin), attention.heads(x, 'v', cos, sin)))
    residual = residual + attention.output(unrolled_attention(attention.heads(x, 'q', cos, sin), steps))
    return residual + layer.mlp(rms_norm(residual, layer.post_attention_layernorm.weight, EPSILON))


class BlockLayer(nn.Module):
    shape = LayerShape(inputs=HIDDEN, heads=4, kv_heads=2, intermediate=256, head_norms=True)

    def __init__(self):
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = ones(HIDDEN), ones(HIDDEN)
        self.self_attn, self.mlp = HeadAttention(self.shape), HeadMlp(self.shape)


class Block(nn.Module):
    """DFlash (arXiv:2602.06036): a block of the anchor and masks sees a context made of the target's features, and itself."""

    def __init__(self):
        super().__init__()
        fc = torch.cat([matrix(HIDDEN, HIDDEN, 0.1) for _ in BLOCK_TAPS], 1).detach()
        fc[:, -HIDDEN:] += torch.eye(HIDDEN)
        self.fc = Weight(nn.Parameter(fc))
        self.hidden_norm, self.norm = ones(HIDDEN), ones(HIDDEN)
        self.layers = nn.ModuleList(BlockLayer() for _ in range(2))

    def forward(self, taps, embedded, anchors, cos, sin):
        """Hidden rows `[B, A, S, D]` of blocks that begin at positions `anchors` `[A]`.

        `taps` are features `[B, T, n D]`, `embedded` `[S, D]` masks whose first is put in place by the caller: `[B, A, S, D]`.
        """
        batch, count, size, _ = embedded.shape
        context = rms_norm(linear(taps, self.fc.weight), self.hidden_norm.weight, EPSILON)
        length = context.shape[1]
        positions = (anchors[:, None] + torch.arange(size)).flatten()
        hidden_context = torch.arange(length)[None] >= anchors.repeat_interleave(size)[:, None]
        x = embedded.reshape(batch, count * size, HIDDEN)
        for layer in self.layers:
            attention, shape = layer.self_attn, layer.shape
            normed = rms_norm(x, layer.input_layernorm.weight, EPSILON)
            seen = {name: attention.heads(context, name, cos[:length], sin[:length]) for name in 'kv'}
            own = {name: attention.heads(normed, name, cos[positions], sin[positions]) for name in 'qkv'}
            query = own['q'].view(batch, shape.kv_heads, -1, count * size, shape.head_dim)
            far = (query.flatten(2, 3) @ seen['k'].mT).view(*query.shape[:4], length)
            far = far.masked_fill(hidden_context, -torch.inf)
            blocks = {name: own[name].view(batch, shape.kv_heads, 1, count, size, shape.head_dim) for name in 'kv'}
            near = query.view(*query.shape[:3], count, size, shape.head_dim) @ blocks['k'].mT
            scores = torch.cat((far, near.flatten(3, 4)), -1).float() * shape.head_dim**-0.5
            weights = torch.softmax(scores, -1).to(x.dtype)
            mixed = (weights[..., :length].flatten(2, 3) @ seen['v']).view_as(query)
            nearby = weights[..., length:].view(*query.shape[:3], count, size, size) @ blocks['v']
            mixed = (mixed + nearby.view_as(query)).flatten(1, 2)
            x = x + attention.output(mixed)
            x = x + layer.mlp(rms_norm(x, layer.post_attention_layernorm.weight, EPSILON))
        return rms_norm(x, self.norm.weight, EPSILON).view(batch, count, size, HIDDEN)


def build_heads():
    return nn.ModuleDict({'medusa': Medusa(), 'mtp': Mtp(), 'eagle': Eagle3(), 'block': Block()})
