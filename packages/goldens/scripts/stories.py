"""Writes fixtures/stories: held-out stories, and what `transformers` computes from the shipped model for one of them.

    python scripts/stories.py --heldout heldout.jsonl --model ../tiny/models/stories --out fixtures/stories

`heldout.jsonl` comes from apps/training/prepare.py: text that no part of the training saw. Only documents of a clear licence
are taken. Float32, eager attention, no dropout.
"""

import argparse
import json
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

SOURCES = ('storybooks_ccby', 'stories')
LONGEST = 9000  # characters: short documents, many of them
POSITIONS, PROMPT, GREEDY = 40, 24, 40
TITLE = 'Elephant and Chameleon'


def choose(path):
    documents = [json.loads(line) for line in open(path)]
    return [d for d in documents if d['source'] in SOURCES and len(d['text']) <= LONGEST]


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--heldout', type=Path, required=True)
    parser.add_argument('--model', type=Path, required=True)
    parser.add_argument('--out', type=Path, required=True)
    options = parser.parse_args()
    documents = choose(options.heldout)
    (options.out / 'heldout.jsonl').write_text(''.join(json.dumps(document) + '\n' for document in documents))

    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32, attn_implementation='eager').eval()
    text = next(document['text'] for document in documents if document['text'].startswith(TITLE))
    ids = tokenizer(text, return_tensors='pt')['input_ids'][:, :POSITIONS]
    outputs = model(ids, output_hidden_states=True)
    logits, hidden = outputs.logits[0], outputs.hidden_states
    tokens, gaps = ids[:, :PROMPT], []
    for _ in range(GREEDY):
        best = model(tokens).logits[0, -1].topk(2)
        gaps.append((best.values[0] - best.values[1]).item())
        tokens = torch.cat((tokens, best.indices[None, :1]), 1)
    gap = min(gaps)
    golden = {
        'input_ids': ids[0].int(),
        'logits': logits,
        'hidden_first_block': hidden[1][0],
        'hidden_last': hidden[-1][0],
        'greedy_prompt': tokens[0, :PROMPT].int(),
        'greedy_tokens': tokens[0, PROMPT:].int(),
    }
    save_file({name: tensor.contiguous() for name, tensor in golden.items()}, str(options.out / 'golden.safetensors'))
    meta = {
        'transformers': transformers.__version__,
        'torch': torch.__version__.split('+')[0],
        'story': TITLE,
        'smallestGap': round(gap, 6),
        'greedyText': tokenizer.decode(tokens[0, PROMPT:]),
    }
    (options.out / 'meta.json').write_text(json.dumps(meta, indent=2) + '\n')
    print(meta, len(documents), sum(len(document['text']) for document in documents))


if __name__ == '__main__':
    main()
