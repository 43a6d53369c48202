"""Samples consecutive stories from a checkpoint folder with `transformers`, in Markdown.

    python sample.py --model packages/tiny/models/stories --seeds 1 10

Each story starts from the prompt alone with its own seed; none is left out. Sampling is what generation_config.json says.
"""

import argparse
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--model', type=Path, required=True)
    parser.add_argument('--prompt', default='Once upon a time')
    parser.add_argument('--seeds', type=int, nargs=2, default=(1, 10), metavar=('FIRST', 'LAST'))
    parser.add_argument('--tokens', type=int, default=220, help='most new tokens')
    options = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32).eval()
    prompt = tokenizer(options.prompt, return_tensors='pt')
    for seed in range(options.seeds[0], options.seeds[1] + 1):
        torch.manual_seed(seed)
        ids = model.generate(**prompt, max_new_tokens=options.tokens, top_k=0)[0]
        ended = 'ends by itself' if ids[-1] == tokenizer.eos_token_id else 'cut'
        text = tokenizer.decode(ids, skip_special_tokens=True).strip()
        quoted = '\n>\n'.join(f'> {line}' for line in text.split('\n') if line.strip())
        print(f'**Seed {seed}** ({len(ids) - 1} tokens, {ended})\n\n{quoted}\n', flush=True)


if __name__ == '__main__':
    main()
