"""How many tokens a pass of the target gives with each head, on held-out text, greedily, without running the loop.

    python heads/acceptance.py --data DATA --target ../../packages/tiny/models/stories --heads OUT/heads.safetensors --out runs/heads-acceptance.json

The target writes 200 tokens behind the first 48 of each prompt. What a head would have guessed after each of its tokens is
computed at once for all positions; rounds are then counted as the decoding loop would run them. A chain is kept up to the first wrong guess;
of a static tree the deepest path that the target would have taken. Trees of `nodes` guesses are made of the ranks that were right most often in
text of the target that was trained on.
"""

import argparse
import json
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from heads import BLOCK_SIZE, BLOCK_TAPS, MASK_TOKEN, MEDUSA_HEADS, TAPS, build_heads
from layers import shift
from safetensors.torch import load_file
from target import FrozenTarget
from tokenizers import Tokenizer

from continuations import LENGTH, CachedTarget

PROMPT = 48
# Ranks from this one on count as wrong.
RANKS = 10
DEPTHS = 6


def held_out_prompts(folder, tokenizer, count):
    """First tokens of held-out documents, small sources first: all of tinystories, children and picture books."""
    order = ('tinystories', 'children', 'storybooks_ccby', 'stories', 'simple_150mb')
    documents = [json.loads(line) for line in open(folder / 'heldout.jsonl')]
    documents.sort(key=lambda document: order.index(document['source']))
    prompts = [(d['source'], tokenizer.encode(d['text']).ids[:PROMPT]) for d in documents]
    return [(source, ids) for source, ids in prompts if len(ids) == PROMPT][:count]


def passages(path, tokenizer, count):
    """First tokens behind the beginnings of lines, the first of every text before the second of any; as apps/bench takes them."""
    found = []
    for document in map(json.loads, open(path)):
        text = document['text']
        begins = [0, *(match.end() for match in re.finditer(r'\n(?=\S)', text))]
        found.append([(document['source'], tokenizer.encode(text[at : at + 16 * PROMPT]).ids[:PROMPT]) for at in begins])
    rows = [prompts[i] for i in range(max(map(len, found))) for prompts in found if i < len(prompts)]
    return [(source, ids) for source, ids in rows if len(ids) == PROMPT][:count]


@torch.no_grad()
def greedy(target, prompts, length):
    """int64 `[P, PROMPT + length]`, in float32."""
    rows = torch.zeros(len(prompts), PROMPT + length, dtype=torch.long)
    rows[:, :PROMPT] = torch.tensor(prompts)
    cached = CachedTarget(target.model, len(prompts), rows.shape[1], torch.float32)
    first = torch.zeros(len(prompts), dtype=torch.long)
    for column in range(rows.shape[1] - 1):
        logits = cached.step(rows[:, column], column, first)
        if column + 1 >= PROMPT:
            rows[:, column + 1] = logits.argmax(-1)
    return rows


def rank_of(logits, tokens):
    """How many tokens stand above `tokens` `[…]` in `[…, V]`; `RANKS` for all that are not among the first."""
    own = logits.gather(-1, tokens[..., None])
    return (logits > own).sum(-1).clamp(max=RANKS)


def ranks(heads, target, rows, depths=DEPTHS):
    """`name -> [B, T, depths]`: rank of token t + 1 + d among the guesses at depth d (from 1) made behind anchor t, had the guesses before
    it been right. Beyond what can be known all ranks are `RANKS`."""
    ids, out = rows, target(rows, TAPS)
    batch, length = ids.shape
    made = {name: torch.full((batch, length, depths), RANKS) for name in heads}
    for head in range(min(MEDUSA_HEADS, depths)):
        logits = target.logits(heads['medusa'](out.hidden, head))
        count = length - head - 2
        made['medusa'][:, 1 : count + 1, head] = rank_of(logits[:, :count], ids[:, head + 2 :])
    cos, sin = target.turns(length - 1)
    following = target.embed(ids[:, 1:])
    for name in ('mtp', 'eagle'):
        steps, features = [], heads[name].begin(out)[:, :-1]
        for depth in range(depths):
            hidden, recycled = heads[name].step(features, following, steps, cos, sin)
            rank = rank_of(target.logits(hidden)[:, :-1], ids[:, 2:])
            # Row r of this step ends the draft whose anchor is token r + 1 - depth.
            made[name][:, 1 : length - 1 - depth, depth] = rank[:, depth:]
            features = shift(recycled, 1, 1)
    taps = torch.cat([out.taps[TAPS.index(layer)] for layer in BLOCK_TAPS], -1)
    for anchors in torch.arange(1, length - BLOCK_SIZE).split(64):
        embedded = target.embed(torch.tensor(MASK_TOKEN)).expand(batch, len(anchors), BLOCK_SIZE, -1).clone()
        embedded[:, :, 0] = target.embed(ids[:, anchors])
        hidden = heads['block'](taps, embedded, anchors, *target.turns(length))
        for draft in range(1, min(BLOCK_SIZE, depths + 1)):
            rank = rank_of(target.logits(hidden[:, :, draft]), ids[:, anchors + draft])
            made['block'][:, anchors, draft - 1] = rank
    return made


def rounds(accepted, begin):
    """Tokens and rounds of each row `[T]` of accepted counts, from anchor `begin` on."""
    at, count, last = begin, 0, accepted.shape[-1] - DEPTHS - 1
    while at < last:
        at += int(accepted[at]) + 1
        count += 1
    return at - begin, count


def chain_lengths(made, depth):
    """`[B, T]`: guesses kept of a chain of `depth`."""
    return (made[..., :depth] == 0).long().cumprod(-1).sum(-1)


def frequent_paths(made, nodes):
    """The `nodes` paths of ranks that were right most often; each comes after its beginning."""
    counts = Counter()
    for row in made[:, PROMPT:-DEPTHS].reshape(-1, made.shape[-1]).tolist():
        for depth in range(1, len(row) + 1):
            if row[depth - 1] >= RANKS:
                break
            counts[tuple(row[:depth])] += 1
    best = sorted(counts.items(), key=lambda item: (-item[1], len(item[0]), item[0]))[:nodes]
    return [path for path, _ in best]


def tree_lengths(made, paths):
    """`[B, T]`: guesses kept of a static tree."""
    known, result = set(paths), torch.zeros(made.shape[:2], dtype=torch.long)
    for b, row in enumerate(made.tolist()):
        for t, path in enumerate(row):
            depth = 0
            while depth < len(path) and tuple(path[: depth + 1]) in known:
                depth += 1
            result[b, t] = depth
    return result


def tau(lengths):
    totals = np.array([rounds(row, PROMPT) for row in lengths]).sum(0)
    return round(float(totals[0] / totals[1]), 3)


@torch.no_grad()
def measure(heads, target, rows, fitted, nodes=(15, 31, 63)):
    """Figures of each head; `fitted` are rows that trees are made of."""
    made = {name: [] for name in heads}
    for part in rows.split(20):
        for name, value in ranks(heads, target, part).items():
            made[name].append(value)
    shapes = ranks(heads, target, fitted)
    figures = {}
    for name in heads:
        all_rows = torch.cat(made[name])
        shown = all_rows[:, PROMPT:-DEPTHS]
        right = [(shown[..., : depth + 1] == 0).all(-1).float().mean() for depth in range(DEPTHS)]
        figures[name] = {
            'chain': {depth: tau(chain_lengths(all_rows, depth)) for depth in range(1, DEPTHS + 1)},
            'tree': {count: tau(tree_lengths(all_rows, frequent_paths(shapes[name], count))) for count in nodes},
            'acceptanceByDepth': [round(float(share), 3) for share in right],
        }
    return figures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--data', type=Path, help='what prepare.py wrote: prompts from all held-out documents')
    parser.add_argument('--texts', type=Path, help='or JSON lines of texts: prompts from their lines')
    parser.add_argument('--continuations', type=Path, required=True)
    parser.add_argument('--target', type=Path, required=True)
    parser.add_argument('--heads', type=Path, required=True)
    parser.add_argument('--prompts', type=int, default=200)
    parser.add_argument('--tokens', type=int, default=LENGTH)
    parser.add_argument('--out', type=Path)
    options = parser.parse_args()
    target, heads = FrozenTarget(options.target, torch.float32), build_heads()
    heads.load_state_dict({name: tensor.bfloat16().float() for name, tensor in load_file(str(options.heads)).items()})
    tokenizer = Tokenizer.from_file(str(options.target / 'tokenizer.json'))
    if options.texts:
        prompts = passages(options.texts, tokenizer, options.prompts)
    else:
        prompts = held_out_prompts(options.data, tokenizer, options.prompts)
    rows = greedy(target, [ids for _, ids in prompts], options.tokens)
    trained = torch.from_numpy(np.load(options.continuations)[:200]).long()
    fitted = trained[(trained >= 0).all(1) | (trained[:, :8] < 0).any(1)].clamp(min=0)[:40]
    figures = measure(heads, target, rows, fitted)
    sources = Counter(source for source, _ in prompts)
    record = {'prompts': dict(sources), 'tokens': options.tokens, 'all': figures}
    if 'tinystories' in record['prompts'] and len(record['prompts']) > 1:
        tiny = [index for index, (source, _) in enumerate(prompts) if source == 'tinystories']
        record['tinystories'] = measure(heads, target, rows[tiny], fitted)
    print(json.dumps(record, indent=1))
    if options.out:
        options.out.write_text(json.dumps(record, indent=1) + '\n')


if __name__ == '__main__':
    sys.exit(main())
