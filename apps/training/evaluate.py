"""Held-out figures of shipped checkpoints, on a CPU in float32.

    python evaluate.py --data DIR --target FOLDER --draft FOLDER --out evaluation.json

For every source: loss (nats per token) and perplexity with the weights as stored, rounded to float16, and as
8-bit and 4-bit blocks; and how well cheaper models foretell the target: the share of positions where both have the same most
likely token, and the mean overlap sum_v min(p(v), q(v)), the chance that a token sampled from the one is accepted by the other.
"""

import argparse
import json
import math
from pathlib import Path

import torch
from tokenizers import Tokenizer

from data import held_out_batches
from export import load_weights
from model import DRAFT, TARGET, LanguageModel, logits_of, rope_table
from quantize import closest_blocks

FORMATS = {
    'f32': lambda weight: weight,
    'f16': lambda weight: weight.half().float(),
    'q8': lambda weight: closest_blocks(weight, 8),
    'q4': lambda weight: closest_blocks(weight, 4),
}


def load(folder, shape, rounding):
    model = LanguageModel(shape)
    load_weights(model, folder / 'model.safetensors')
    with torch.no_grad():
        for parameter in model.matrices():
            parameter.copy_(rounding(parameter))
    return model


def log_probabilities(model, inputs, tables, exits=()):
    cos, sin = (table[: inputs.shape[1]] for table in tables)
    state, states = model(inputs, cos, sin, exits, dtype=torch.float32)
    return {depth: torch.log_softmax(logits_of(part, *model.head()), -1) for depth, part in {**states, 'last': state}.items()}


@torch.no_grad()
def losses(model, batches, tables):
    total = count = 0
    for inputs, targets in batches:
        kept = targets != -100
        logs = log_probabilities(model, inputs, tables)['last']
        total -= logs.gather(-1, targets.clamp_min(0)[..., None])[..., 0][kept].sum().item()
        count += kept.sum().item()
    return total / count, count


@torch.no_grad()
def agreement(target, draft, batches, tables, exits):
    sums, count = {}, 0
    for inputs, targets in batches:
        kept = targets != -100
        count += kept.sum().item()
        own = log_probabilities(target, inputs, tables, exits)
        truth = own.pop('last')
        guesses = {**{f'exit after {depth}': logs for depth, logs in own.items()}, 'draft': log_probabilities(draft, inputs, tables)['last']}
        for name, logs in guesses.items():
            same = (logs.argmax(-1) == truth.argmax(-1))[kept].sum().item()
            overlap = torch.minimum(logs.exp(), truth.exp()).sum(-1)[kept].sum().item()
            before = sums.get(name, (0, 0))
            sums[name] = (before[0] + same, before[1] + overlap)
    return {name: {'sameArgmax': round(same / count, 4), 'overlap': round(overlap / count, 4)} for name, (same, overlap) in sums.items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--target', type=Path, required=True)
    parser.add_argument('--draft', type=Path, required=True)
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--windows', type=int, default=48, help='windows of 1,024 tokens taken of the large sources')
    options = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(options.target / 'tokenizer.json'))
    limits = {'children': options.windows, 'simple_150mb': options.windows}
    held_out = held_out_batches(options.data, tokenizer, rows=4, limits=limits)
    tables = rope_table(TARGET, 1024, 'cpu')
    report = {'perplexity': {}, 'agreement': {}}
    for name, folder, shape in (('stories', options.target, TARGET), ('stories-draft', options.draft, DRAFT)):
        report['perplexity'][name] = {}
        for source, batches in held_out.items():
            figures, exact = {}, None
            for form, rounding in FORMATS.items():
                loss, count = losses(load(folder, shape, rounding), batches, tables)
                exact = loss if exact is None else exact
                figures[form] = {'loss': round(loss, 5), 'perplexity': round(math.exp(loss), 4)}
                figures[form]['againstF32'] = f"{100 * (math.exp(loss - exact) - 1):+.3f} %"
            report['perplexity'][name][source] = {'tokens': count, **figures}
            print(name, source, json.dumps(report['perplexity'][name][source]), flush=True)
    target, draft = (load(folder, shape, FORMATS['f32']) for folder, shape in ((options.target, TARGET), (options.draft, DRAFT)))
    for source, batches in held_out.items():
        report['agreement'][source] = agreement(target, draft, batches, tables, (2, 3, 4, 5, 6))
        print(source, json.dumps(report['agreement'][source]), flush=True)
    options.out.write_text(json.dumps(report, indent=2) + '\n')


if __name__ == '__main__':
    main()
