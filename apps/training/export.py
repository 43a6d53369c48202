"""Weights as bfloat16 safetensors under their official names, and loss curves as a picture."""

import torch
from safetensors.torch import load_file, save_file


def save_weights(model, path):
    weights = {name: tensor.detach().bfloat16().contiguous().cpu() for name, tensor in model.state_dict().items()}
    save_file(weights, str(path), metadata={'format': 'pt'})


def load_weights(model, path):
    model.load_state_dict({name: tensor.float() for name, tensor in load_file(str(path)).items()})


def plot_curves(records, path):
    """Training loss against tokens, one line per phase, with held-out loss in the legend's order of phases."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), dpi=90)
    steps = [record for record in records if 'phase' in record]
    for name in dict.fromkeys(record['phase'] for record in steps):
        part = [record for record in steps if record['phase'] == name]
        axes.plot([r['tokens'] / 1e6 for r in part], [r['loss'] for r in part], label=name, linewidth=1)
    axes.set_xlabel('million tokens seen, all phases')
    axes.set_ylabel('training loss, nats per token')
    axes.set_ylim(top=min(5.0, max(record['loss'] for record in steps)))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
