"""Loss curves of heads as a picture: one panel a head, a line a depth, means over ten records.

    python heads/curves.py runs/heads.json runs/heads.png
"""

import json
import sys

import numpy as np


def smooth(values, width=10):
    return np.convolve(values, np.ones(width) / width, mode='valid')


def main():
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    log, picture = sys.argv[1:]
    records = [record for record in json.load(open(log)) if 'losses' in record]
    tokens = smooth([record['tokens'] / 1e6 for record in records])
    figure, panels = pyplot.subplots(1, 4, figsize=(11, 3), dpi=80, sharey=True)
    for axes, name in zip(panels, records[0]['losses']):
        for depth in range(len(records[0]['losses'][name])):
            axes.plot(tokens, smooth([record['losses'][name][depth] for record in records]), label=f'depth {depth + 1}', linewidth=1)
        axes.set(title=name, xlabel='million tokens seen', ylim=(1, 6))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    panels[0].set_ylabel('nats per token')
    figure.tight_layout()
    figure.savefig(picture)


if __name__ == '__main__':
    main()
