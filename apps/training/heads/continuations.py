"""Text of the target's own: what it writes behind beginnings of training documents, most of it greedily.

    python heads/continuations.py --data DATA --target ../../packages/tiny/models/stories --out CONTINUATIONS.npy --minutes 10

Heads are to foretell the target, so that its own text is the best to learn from. Each row of the file is a beginning (end token, 8 to 48
tokens of a document) and 200 tokens of the target; rows are padded with -1 in front.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

sys.path.append(str(Path(__file__).resolve().parent.parent))
from data import END_ID, Streams  # noqa: E402
from export import load_weights  # noqa: E402
from model import TARGET, LanguageModel, linear, rms_norm, rope_table, rotate  # noqa: E402

SHARES = {'tinystories': 0.6, 'children': 0.25, 'storybooks_ccby': 0.06, 'stories': 0.05, 'simple_150mb': 0.04}
BEGINNING, LENGTH, ROWS = 48, 200, 512


class CachedTarget:
    """One token of many rows at a time, over a cache of keys and values."""

    def __init__(self, model, rows, columns, dtype=torch.bfloat16):
        self.model, self.shape = model, model.shape
        self.weights = [{name: p.data.to(dtype) for name, p in layer.named_parameters()} for layer in model.model.layers]
        self.table = model.model.embed_tokens.weight.data.to(dtype)
        size = (len(self.weights), rows, self.shape.kv_heads, columns, self.shape.head_dim)
        self.keys, self.values = torch.zeros(size, dtype=dtype), torch.zeros(size, dtype=dtype)
        self.cos, self.sin = rope_table(self.shape, columns, 'cpu')

    def step(self, ids, column, first):
        """Logits `[B, V]` behind `ids` `[B]` in `column`; a row sees the columns from its `first` `[B]` on."""
        shape, rows = self.shape, len(ids)
        x = F.embedding(ids, self.table)
        cos, sin = self.cos[column], self.sin[column]
        seen = torch.arange(column + 1)[None] >= first[:, None]
        for layer, w in enumerate(self.weights):
            normed = rms_norm(x, w['input_layernorm.weight'], shape.epsilon)

            def heads(name):
                return linear(normed, w[f'self_attn.{name}_proj.weight']).view(rows, -1, shape.head_dim)

            query = rotate(rms_norm(heads('q'), w['self_attn.q_norm.weight'], shape.epsilon), cos, sin)
            key = rotate(rms_norm(heads('k'), w['self_attn.k_norm.weight'], shape.epsilon), cos, sin)
            self.keys[layer, :, :, column], self.values[layer, :, :, column] = key, heads('v')
            mixed = F.scaled_dot_product_attention(
                query.view(rows, shape.kv_heads, -1, shape.head_dim),
                self.keys[layer, :, :, : column + 1],
                self.values[layer, :, :, : column + 1],
                attn_mask=seen[:, None, None],
            )
            x = x + linear(mixed.reshape(rows, -1), w['self_attn.o_proj.weight'])
            normed = rms_norm(x, w['post_attention_layernorm.weight'], shape.epsilon)
            inner = F.silu(linear(normed, w['mlp.gate_proj.weight'])) * linear(normed, w['mlp.up_proj.weight'])
            x = x + linear(inner, w['mlp.down_proj.weight'])
        return linear(rms_norm(x, self.model.model.norm.weight, shape.epsilon), self.table).float()


@torch.no_grad()
def continuations(target, streams, generator):
    """int16 `[ROWS, BEGINNING + LENGTH]`: four rows of five greedy, the fifth sampled at temperature 0.8."""
    columns = BEGINNING + LENGTH
    documents, _ = streams.batch(ROWS, BEGINNING, SHARES)
    lengths = torch.randint(8, BEGINNING, (ROWS,), generator=generator)
    first = BEGINNING - lengths - 1
    rows = torch.zeros(ROWS, columns, dtype=torch.long)
    for row, (start, ids) in enumerate(zip(first.tolist(), documents)):
        begins = int(ids[0] == END_ID)
        rows[row, start] = END_ID
        rows[row, start + 1 : BEGINNING] = ids[begins : begins + BEGINNING - 1 - start]
    cached = CachedTarget(target, ROWS, columns)
    greedy = (torch.arange(ROWS) % 5 != 4)[:, None]
    for column in range(columns - 1):
        logits = cached.step(rows[:, column], column, torch.minimum(first, torch.tensor(column)))
        if column + 1 < BEGINNING:
            continue
        noise = -torch.log(-torch.log(torch.rand(logits.shape, generator=generator).clamp(1e-9, 1 - 1e-7)))
        rows[:, column + 1] = torch.where(greedy, logits, logits + 0.8 * noise).argmax(-1)
    rows[torch.arange(columns)[None] < first[:, None]] = -1
    return rows.numpy().astype(np.int16)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--target', type=Path, required=True)
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--minutes', type=float, default=10)
    parser.add_argument('--seed', type=int, default=20)
    options = parser.parse_args()
    target = LanguageModel(TARGET)
    load_weights(target, options.target / 'model.safetensors')
    streams = Streams(options.data, list(SHARES), 'cpu', options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    begin, parts = time.time(), []
    while time.time() - begin < 60 * options.minutes:
        parts.append(continuations(target, streams, generator))
        # A name of its own while it is written: training may read the file meanwhile.
        unfinished = options.out.with_suffix('.part.npy')
        np.save(unfinished, np.concatenate(parts))
        unfinished.replace(options.out)
        print(f'{time.time() - begin:.0f} s: {len(parts) * ROWS * LENGTH} tokens', flush=True)


if __name__ == '__main__':
    main()
