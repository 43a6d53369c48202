"""Weights as bfloat16 safetensors under their official names, and loss curves as a picture.

    python export.py runs/first.json runs/second.json runs/curves.png
"""

import torch
from safetensors.torch import load_file, save_file


def save_weights(model, path):
    weights = {name: tensor.detach().bfloat16().contiguous().cpu() for name, tensor in model.state_dict().items()}
    save_file(weights, str(path), metadata={'format': 'pt'})


def load_weights(model, path):
    model.load_state_dict({name: tensor.float() for name, tensor in load_file(str(path)).items()})


def plot_curves(runs, path, step_tokens=65536):
    """Left: the target's training loss, a dot for the held-out tinystories loss at the end of a phase. Right: the draft's.

    `runs` are the records of runs that build on one another; every anneal starts where the trunk ends.
    """
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), dpi=80)
    trunk = draft = 0
    for number, records in enumerate(runs):
        steps = [record for record in records if 'phase' in record]
        for name in dict.fromkeys(record['phase'] for record in steps):
            part = [record for record in steps if record['phase'] == name]
            axes, base = (right, draft) if name == 'draft' else (left, 0 if name == 'pretrain' else trunk)
            label = name if name != 'draft' or number == 0 else 'draft, again'
            at = [(base + record['step'] * step_tokens) / 1e6 for record in part]
            line = axes.plot(at, [record['loss'] for record in part], label=label, linewidth=1)[0]
            evaluated = 'trunk' if name == 'pretrain' else name
            for record in records:
                if record.get('evaluated') == evaluated and record['bits'] == 32 and axes is left:
                    axes.plot(at[-1], record['loss']['tinystories'], 'o', color=line.get_color(), markersize=4)
            end = int(at[-1] * 1e6)
            trunk, draft = (end if name == 'pretrain' else trunk), (end if name == 'draft' else draft)
    left.set(xlabel='million tokens seen', ylabel='nats per token', ylim=(1.5, 4.5), title='target')
    right.set(xlabel='million tokens seen', title='draft: 0.9 KL + 0.1 text')
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


if __name__ == '__main__':
    import json
    import sys

    *logs, picture = sys.argv[1:]
    plot_curves([json.load(open(log)) for log in logs], picture)
