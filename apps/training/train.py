"""Trains the story model and its draft model within a time budget, on any number of GPUs.

    torchrun --nproc-per-node 1 train.py --data DIR --out DIR --budget 540

Phases, each a share of the wall-clock budget (their schedules follow the clock, so the run ends on time on any machine):

1. pretrain: the broad mix, constant rate after a warm-up, early exits and layer dropout;
2. anneal: from the same trunk, once per candidate mix; the rate falls linearly to zero, and every other step runs with
   weights rounded to 4 bits. The candidates' average joins them. The best by held-out stories wins;
3. draft: a small model learns the winner's distribution.
"""

import argparse
import copy
import json
import os
import random
import time
from pathlib import Path

import torch
import torch.distributed as dist
from tokenizers import Tokenizer

from data import Streams, held_out_batches
from export import load_weights, plot_curves, save_weights
from model import (
    DRAFT,
    TARGET,
    LanguageModel,
    describe,
    distillation_loss,
    logits_of,
    next_token_loss,
    rope_table,
)
from optimizer import Optimizer
from quantize import FakeQuantizer, round_to_blocks
from recipe import RECIPE


class Trainer:
    def __init__(self, options, recipe):
        self.options, self.recipe = options, recipe
        self.world = int(os.environ.get('WORLD_SIZE', '1'))
        self.rank = int(os.environ.get('RANK', '0'))
        cuda = torch.cuda.is_available()
        self.device = torch.device('cuda', int(os.environ.get('LOCAL_RANK', '0'))) if cuda else torch.device('cpu')
        self.dtype = torch.bfloat16 if cuda else torch.float32
        if cuda:
            torch.cuda.set_device(self.device)
        if self.world > 1:
            dist.init_process_group('nccl' if cuda else 'gloo')
        torch.manual_seed(recipe['seed'])
        torch._dynamo.config.recompile_limit = 64
        data = options.data
        self.streams = Streams(data, list(recipe['pretrain']['shares']), self.device, recipe['seed'] + self.rank)
        tokenizer = Tokenizer.from_file(str(data / 'tokenizer.json'))
        self.held_out = held_out_batches(data, tokenizer, limits=recipe['evaluationWindows'])
        self.tables = {length: rope_table(TARGET, length, self.device) for length in {1024, *recipe['lengths']}}
        wrap = torch.compile(dynamic=False) if options.compile else lambda function: function
        self.text_loss = wrap(next_token_loss)
        self.draft_loss = wrap(distillation_loss)
        self.teacher_logits = wrap(logits_of)
        self.records = []
        self.tokens_seen = 0

    def log(self, **record):
        record['seconds'] = round(time.time() - self.options.started, 2)
        self.records.append(record)
        if self.rank == 0 and record.get('show', True):
            print(json.dumps({key: value for key, value in record.items() if key != 'show'}), flush=True)

    def progress(self, begun, seconds, step):
        """Share of a phase that has passed, the same on every rank."""
        if self.options.steps:
            return step / self.options.steps
        passed = torch.tensor([(time.time() - begun) / seconds], dtype=torch.float64, device=self.device)
        if self.world > 1:
            dist.broadcast(passed, 0)
            return passed.item()
        return (time.time() - begun) / seconds

    def average_gradients(self, parameters):
        if self.world > 1:
            for parameter in parameters:
                dist.all_reduce(parameter.grad)
                parameter.grad /= self.world

    def new_model(self, shape):
        model = LanguageModel(shape).to(self.device)
        if self.options.compile:
            model.compile_blocks()
        return model

    def run_phase(self, name, model, optimizer, phase, seconds=None, deadline=None, teacher=None):
        """Trains for `seconds`, or until `deadline` (seconds since the start). `phase` is an entry of the recipe.

        The clock starts after three steps, so that compilation does not eat into the schedule.
        """
        rng = random.Random(self.recipe['seed'])
        rows = self.options.batch_tokens // phase['length']
        cos, sin = self.tables[phase['length']]
        quantizer = FakeQuantizer(model.matrices())
        dropout = torch.tensor(phase['dropout'], device=self.device) if 'dropout' in phase else None
        depth = model.shape.layers
        begun, step, passed, pending, tokens_before = time.time(), 0, 0.0, [], self.tokens_seen
        while passed < 1:
            inputs, targets = self.streams.batch(rows, phase['length'], phase['shares'], phase['noise'])
            rate = phase['rate'] * (min(1.0, (passed + 1e-3) / phase['warmup']) if phase['warmup'] else 1.0)
            rate *= min(1.0, (1 - passed) / phase['decay']) if phase['decay'] else 1.0
            drop = phase['layerDropout'] * (1 - passed if phase['decay'] else 1)
            skip = frozenset(i for i in range(1, depth) if rng.random() < drop * i / (depth - 1))
            quantized = rng.random() < phase['fakeQuantize'] and passed >= phase['fakeQuantizeFrom']
            exit_after = rng.choice(phase['exits']) if phase['exits'] else None
            if quantized:
                quantizer.__enter__()
            parts = self.loss_of(model, inputs, targets, (cos, sin), exit_after, skip, dropout, teacher)
            loss = parts[0] if exit_after is None else parts[0] + phase['exitWeight'] * parts[1]
            loss.backward()
            if quantized:
                quantizer.__exit__()
            self.average_gradients(optimizer.parameters)
            optimizer.step(rate)
            step += 1
            self.tokens_seen += rows * phase['length'] * self.world
            pending.append((step, exit_after, torch.stack([part.detach() for part in parts])))
            if len(pending) == 20 or step == 3:
                self.flush(name, pending, rate, begun, tokens_before)
            if step == 3:
                begun, tokens_before = time.time(), self.tokens_seen
                if deadline is not None:
                    seconds = max(1.0, deadline - (begun - self.options.started))
            passed = self.progress(begun, seconds, step) if step >= 3 else 0.0
        self.flush(name, pending, 0.0, begun, tokens_before)

    def loss_of(self, model, inputs, targets, tables, exit_after, skip, dropout, teacher):
        if teacher is not None:
            with torch.no_grad():
                guide = self.teacher_logits(teacher(inputs, *tables, dtype=self.dtype)[0], *teacher.head())
            return self.draft_loss(model(inputs, *tables, dtype=self.dtype)[0], *model.head(), guide, targets)
        exits = () if exit_after is None else (exit_after,)
        state, states = model(inputs, *tables, exits, skip, dropout, self.dtype)
        return tuple(self.text_loss(part, *model.head(), targets) for part in (state, *states.values()))

    def flush(self, name, pending, rate, begun, tokens_before):
        """Reads losses back (the only synchronisation of the loop) and logs their mean."""
        if not pending:
            return
        values = torch.stack([parts for *_, parts in pending]).mean(0).tolist()
        if values[0] != values[0]:
            raise FloatingPointError(f'{name}: loss is not a number at step {pending[-1][0]}')
        step = pending[-1][0]
        speed = (self.tokens_seen - tokens_before) / max(1e-9, time.time() - begun)
        self.log(
            phase=name, step=step, loss=round(values[0], 4), second=round(values[-1], 4), rate=round(rate, 4),
            tokens=self.tokens_seen, tokensPerSecond=round(speed), show=step % 200 == 0 or bool(self.options.steps),
        )  # fmt: skip
        pending.clear()

    @torch.no_grad()
    def evaluate(self, name, model, exits=(), bits=None):
        """Held-out loss in nats per token by source, float32, at the last block and at each early exit."""
        model = copy.deepcopy(model)
        model.compiled = False
        if bits:
            for parameter in model.matrices():
                parameter.copy_(round_to_blocks(parameter, bits))
        cos, sin = self.tables[1024]
        losses = {}
        for source, batches in self.held_out.items():
            totals, count = {}, 0
            for inputs, targets in batches:
                inputs, targets = inputs.to(self.device), targets.to(self.device)
                kept = (targets != -100).sum().item()
                count += kept
                length = inputs.shape[1]
                state, states = model(inputs, cos[:length], sin[:length], exits, dtype=torch.float32)
                for depth, part in {**states, model.shape.layers: state}.items():
                    loss = next_token_loss(part, *model.head(), targets).item()
                    totals[depth] = totals.get(depth, 0) + loss * kept
            losses[source] = {str(depth): round(total / count, 4) for depth, total in totals.items()}
        final = {source: values[str(model.shape.layers)] for source, values in losses.items()}
        self.log(evaluated=name, bits=bits or 32, loss=final, exits=losses if exits else None)
        return final

    def save(self, name, model):
        if self.rank == 0:
            save_weights(model, self.options.out / f'{name}.safetensors')
            (self.options.out / 'log.json').write_text(json.dumps(self.records))

    def run(self):
        recipe, options = self.recipe, self.options
        budget = options.budget - (time.time() - options.started)
        model = self.new_model(TARGET)
        optimizer = Optimizer(model, recipe['matrixRate'], recipe['vectorRate'])
        if options.trunk:
            load_weights(model, options.trunk)
        else:
            pretrain = recipe['pretrain']
            self.run_phase('pretrain', model, optimizer, pretrain, pretrain['share'] * budget)
            self.evaluate('trunk', model, exits=(2, 4, 6))
            self.save('trunk', model)

        candidates = {}
        for name in options.anneal:
            phase = recipe['anneal'][name]
            candidate, state = self.fork(model, optimizer)
            self.run_phase(name, candidate, state, phase, phase.get('seconds') or phase['share'] * budget)
            candidates[name] = candidate
            self.save(name, candidate)
        candidates['average'] = self.average(list(candidates.values()))
        scores = {}
        for name, candidate in candidates.items():
            loss = self.evaluate(name, candidate, exits=tuple(range(1, TARGET.layers)))
            rounded = self.evaluate(name, candidate, bits=4)
            scores[name] = sum(loss[s] + rounded[s] for s in recipe['judgedBy']) / (2 * len(recipe['judgedBy']))
        best = min(scores, key=scores.get)
        self.log(scores=scores, chosen=best)
        target = candidates[best]
        self.save('stories', target)
        for parameter in target.parameters():
            parameter.data = parameter.data.bfloat16().float()

        student = self.new_model(DRAFT)
        phase = dict(recipe['draft'])
        if options.draft:
            load_weights(student, options.draft)
            phase |= recipe['draftAgain']
        optimizer = Optimizer(student, recipe['matrixRate'], recipe['draftVectorRate'])
        deadline = options.budget - recipe['reserveSeconds']
        self.run_phase('draft', student, optimizer, phase, deadline=deadline, teacher=target)
        self.save('stories-draft', student)
        self.evaluate('draft', student)
        self.evaluate('draft', student, bits=4)
        self.log(target=describe(TARGET), draft=describe(DRAFT), recipe=recipe, world=self.world, torch=torch.__version__)
        self.save('stories-draft', student)
        if self.rank == 0:
            plot_curves([self.records], options.out / 'curves.png', options.batch_tokens * self.world)
        if self.world > 1:
            dist.barrier()

    def fork(self, model, optimizer):
        """A copy of a model and of its optimizer's state, to go on from separately."""
        other = self.new_model(model.shape)
        other.load_state_dict(model.state_dict())
        twin = Optimizer(other, self.recipe['matrixRate'], self.recipe['vectorRate'])
        if not optimizer.adam.state:
            return other, twin
        twin.adam.load_state_dict(copy.deepcopy(optimizer.adam.state_dict()))
        for (_, mine), (_, theirs) in zip(twin.muon.groups, optimizer.muon.groups):
            mine.copy_(theirs)
        return other, twin

    def average(self, models):
        other = self.new_model(models[0].shape)
        with torch.no_grad():
            for target, *sources in zip(other.parameters(), *(model.parameters() for model in models)):
                target.copy_(torch.stack(sources).mean(0))
        return other


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--data', type=Path, required=True, help='output of prepare.py')
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--budget', type=float, default=540, help='seconds for everything, from the start of the process')
    parser.add_argument('--batch-tokens', type=int, default=65536, help='tokens per step and GPU')
    parser.add_argument('--trunk', type=Path, help='weights to anneal from, instead of pretraining')
    parser.add_argument('--draft', type=Path, help='draft weights to go on from')
    parser.add_argument('--anneal', nargs='+', default=list(RECIPE['anneal']), help='candidate mixes')
    parser.add_argument('--steps', type=int, default=0, help='fixed steps per phase instead of the clock, for tests')
    parser.add_argument('--rehearse', action='store_true', help='go through all phases with 3 steps first')
    parser.add_argument('--no-compile', dest='compile', action='store_false')
    options = parser.parse_args()
    options.started = time.time()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_float32_matmul_precision('high')
    trainer = Trainer(options, RECIPE)
    if options.rehearse:
        trainer.options = argparse.Namespace(**{**vars(options), 'steps': 3})
        trainer.run()
        trainer.options, trainer.records, trainer.tokens_seen = options, [], 0
        trainer.log(rehearsed=True)
    trainer.run()
    if trainer.world > 1:
        dist.destroy_process_group()


if __name__ == '__main__':
    main()
