"""Every choice of the run: shares of the mix, shares of the time, rates, seeds."""

ANNEAL = {
    'length': 2048,
    'rate': 1,
    'noise': 0,
    'warmup': 0,
    'decay': 1,
    'layerDropout': 0.1,
    'fakeQuantize': 0.5,
    'fakeQuantizeFrom': 0.1,
    'exits': (1, 2, 3, 4, 5, 6),
    'exitWeight': 0.2,
}

RECIPE = {
    'seed': 20,
    'lengths': (1024, 2048),
    'matrixRate': 5e-3,
    'vectorRate': 5e-3,
    'draftVectorRate': 6e-3,
    'judgedBy': ('tinystories', 'storybooks_ccby'),
    'evaluationWindows': {'children': 128, 'simple_150mb': 128},
    'reserveSeconds': 8,
    'pretrain': {
        'share': 0.43,
        'length': 1024,
        'shares': {'tinystories': 0.025, 'storybooks_ccby': 0.015, 'stories': 0.03, 'children': 0.57, 'simple_150mb': 0.36},
        'rate': 1,
        'noise': 0,
        'warmup': 0.03,
        'decay': 0,
        'layerDropout': 0.1,
        'fakeQuantize': 0.0,
        'fakeQuantizeFrom': 0,
        'exits': (2, 4, 6),
        'exitWeight': 0.2,
    },
    # Small sources are few: every percent of the mix is an epoch or more of tinystories. `heavy` and `light` are what not
    # to do (README.md has the figures); the shipped model is the better of `short` and `shorter`.
    'anneal': {
        'heavy': ANNEAL
        | {
            'share': 0.15,
            'shares': {'tinystories': 0.35, 'storybooks_ccby': 0.1, 'stories': 0.08, 'children': 0.37, 'simple_150mb': 0.1},
        },
        'light': ANNEAL
        | {
            'share': 0.15,
            'shares': {'tinystories': 0.13, 'storybooks_ccby': 0.04, 'stories': 0.05, 'children': 0.53, 'simple_150mb': 0.25},
        },
        'short': ANNEAL
        | {
            'seconds': 20,
            'shares': {'tinystories': 0.22, 'storybooks_ccby': 0.02, 'stories': 0.02, 'children': 0.59, 'simple_150mb': 0.15},
            'rate': 0.7,
            'noise': 0.15,
            'dropout': 0.1,
            'layerDropout': 0.05,
        },
        'shorter': ANNEAL
        | {
            'seconds': 20,
            'shares': {'tinystories': 0.12, 'storybooks_ccby': 0.015, 'stories': 0.02, 'children': 0.645, 'simple_150mb': 0.2},
            'rate': 0.7,
            'noise': 0.1,
            'dropout': 0.0,
            'layerDropout': 0.05,
        },
    },
    'draft': {
        'length': 2048,
        'shares': {'tinystories': 0.35, 'storybooks_ccby': 0.1, 'stories': 0.1, 'children': 0.35, 'simple_150mb': 0.1},
        'rate': 1,
        'noise': 0,
        'warmup': 0.03,
        'decay': 0.6,
        'layerDropout': 0,
        'fakeQuantize': 0.5,
        'fakeQuantizeFrom': 0.6,
        'exits': (),
        'exitWeight': 0,
    },
    # on top of `draft` where it goes on from earlier weights
    'draftAgain': {'rate': 0.5, 'decay': 1, 'fakeQuantizeFrom': 0.1},
}
