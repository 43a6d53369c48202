/** Tells one story twice, plainly and with speculation: the same tokens, in fewer passes of the model. */
import type { AdapterDescription } from '@forerun/tensor';
import { Command } from 'commander';
import type { DrafterChoice } from '../model/drafter-choice.ts';
import type { GenerationResult } from '../model/generation.ts';
import type { LoadedModel } from '../model/loaded-model.ts';
import { colouredPiece, colourLegend, colours, showsColours } from '../terminal/colours.ts';
import { Interrupt } from '../terminal/interrupt.ts';
import { printable } from '../terminal/printable.ts';
import { table } from '../terminal/table.ts';
import { jsonLine, line, writeOut } from '../terminal/write.ts';
import { countOf, loadByFlags, numberOf } from './model-options.ts';
import { adapterText } from './statistics-text.ts';

interface DemoFlags {
  readonly prompt: string;
  readonly tokens: number;
  readonly temperature: number;
  readonly seed: number;
  readonly width: number;
  readonly json?: boolean;
}

/** `forerun demo`: what `npm start` runs. */
export function demoCommand(): Command {
  return new Command('demo')
    .description('tell a story twice, plainly and with speculation: the same text in fewer rounds')
    .option('--prompt <text>', 'how the story begins', 'Once upon a time, there was a little')
    .option('-n, --tokens <count>', 'most tokens of the story', countOf, 200)
    .option('-t, --temperature <value>', '0 takes the most likely token', numberOf, 0.6)
    .option('-s, --seed <number>', 'seed of all draws', numberOf, 2)
    .option('--width <rows>', 'rows of a speculative round', countOf, 4)
    .option('--json', 'print JSON')
    .action(demo);
}

async function demo(flags: DemoFlags): Promise<void> {
  using interrupt = new Interrupt();
  using model = await loadByFlags({}, interrupt.signal);
  const tellings: Telling[] = [];
  for (const drafter of ['none', 'draft-model'] as const) {
    tellings.push(await tell(model, flags, { drafter, signal: interrupt.signal }));
  }
  const [plain, speculative] = tellings as [Telling, Telling];
  const same = plain.result.tokens.join() === speculative.result.tokens.join();
  if (flags.json) {
    await jsonLine({
      adapter: model.adapter,
      same,
      tellings: tellings.map(({ drafter, result }) => ({ drafter, ...result })),
    });
  } else {
    await summary({ plain, speculative, same, adapter: model.adapter });
  }
  if (!same) process.exitCode = 1;
}

interface Telling {
  readonly drafter: DrafterChoice;
  readonly result: GenerationResult;
}

const titles = { none: 'Plainly, a token a round', 'draft-model': 'With speculation' } as const;

async function tell(
  model: LoadedModel,
  flags: DemoFlags,
  { drafter, signal }: { drafter: 'none' | 'draft-model'; signal: AbortSignal },
): Promise<Telling> {
  const generation = model.generate(flags.prompt, {
    drafter,
    maxTokens: flags.tokens,
    sampling: { temperature: flags.temperature, seed: flags.seed },
    width: flags.width,
    signal,
  });
  if (!flags.json) {
    await line(colours.bold(titles[drafter]));
    if (drafter !== 'none' && showsColours) await line(colourLegend());
    await writeOut(printable(flags.prompt));
    for await (const piece of generation) {
      await writeOut(drafter === 'none' ? printable(piece.text) : colouredPiece(piece));
    }
    await line('\n');
  }
  return { drafter, result: await generation.result };
}

async function summary(outcome: {
  readonly plain: Telling;
  readonly speculative: Telling;
  readonly same: boolean;
  readonly adapter: AdapterDescription;
}): Promise<void> {
  const { plain, speculative, same, adapter } = outcome;
  const [before, after] = [plain.result.statistics, speculative.result.statistics];
  const row = (name: string, of: (statistics: typeof before) => string) => [name, of(before), of(after)];
  await line(
    table([
      [adapterText(adapter), 'plain', 'speculative'],
      row('tokens', ({ generatedTokens }) => String(generatedTokens)),
      row('rounds of the model', ({ rounds }) => String(rounds)),
      row('tokens a round', ({ acceptanceLength }) => acceptanceLength.toFixed(2)),
      row('guesses accepted', ({ acceptedTokens, draftedTokens }) =>
        draftedTokens === 0 ? '-' : `${acceptedTokens} of ${draftedTokens}`,
      ),
      row(
        'accepted at depth 1, 2, …',
        ({ acceptanceByDepth }) => acceptanceByDepth.map((share) => `${Math.round(100 * share)} %`).join(', ') || '-',
      ),
      row('tokens a second', ({ tokensPerSecond }) => tokensPerSecond.toFixed(1)),
    ]),
  );
  await line();
  if (!same) {
    await line(
      colours.red('The two texts differ. That must never be; please report it with the output of "forerun devices".'),
    );
    return;
  }
  const saved = Math.round(100 * (1 - after.rounds / before.rounds));
  await line(`${colours.green('The same text, token for token')}, in ${saved} % fewer rounds.`);
}
