/** Tells one story twice, plainly and with speculation: the same tokens, in fewer passes of the model. */
import type { AdapterDescription } from '@forerun/tensor';
import { Command, Option } from 'commander';
import { type DrafterName, drafterNames } from '../model/drafter-choice.ts';
import type { GenerationPiece, GenerationResult } from '../model/generation.ts';
import type { LoadedModel } from '../model/loaded-model.ts';
import { colouredPiece, colourLegend, colours, showsColours } from '../terminal/colours.ts';
import { Interrupt } from '../terminal/interrupt.ts';
import { printable } from '../terminal/printable.ts';
import { table } from '../terminal/table.ts';
import { treePicture } from '../terminal/tree-picture.ts';
import { jsonLine, line, writeOut } from '../terminal/write.ts';
import { countOf, loadByFlags, numberOf } from './model-options.ts';
import { adapterText } from './statistics-text.ts';

/** The first rounds are drawn, as many as there are lines for. */
const drawn = { rounds: 8, linesOfRound: 8, lines: 20 } as const;

interface DemoFlags {
  readonly prompt: string;
  readonly tokens: number;
  readonly temperature: number;
  readonly seed: number;
  readonly width: number;
  readonly drafter: DrafterName;
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
    .addOption(
      new Option('--drafter <name>', 'who guesses')
        .choices(drafterNames.filter((name) => name !== 'none'))
        .default('draft-model'),
    )
    .option('--json', 'print JSON')
    .action(demo);
}

async function demo(flags: DemoFlags): Promise<void> {
  using interrupt = new Interrupt();
  using model = await loadByFlags({ drafter: flags.drafter }, interrupt.signal);
  const tellings: Telling[] = [];
  for (const drafter of ['none', flags.drafter] as const) {
    if (!flags.json) await introduce(drafter, flags);
    tellings.push(await tell(model, flags, { drafter, signal: interrupt.signal }));
  }
  const [plain, speculative] = tellings as [Telling, Telling];
  const same = plain.result.tokens.join() === speculative.result.tokens.join();
  if (flags.json) {
    await jsonLine({
      adapter: model.adapter,
      same,
      tellings: tellings.map(({ drafter, result }) => ({ ...result, drafter })),
    });
  } else {
    await showRounds(model, flags, { drafter: flags.drafter, signal: interrupt.signal });
    await summary({ plain, speculative, same, adapter: model.adapter });
  }
  if (!same) process.exitCode = 1;
}

interface Telling {
  readonly drafter: DrafterName;
  readonly result: GenerationResult;
}

interface Teller {
  readonly drafter: DrafterName;
  readonly signal: AbortSignal;
}

/** Says what the next telling is. */
async function introduce(drafter: DrafterName, { width }: DemoFlags): Promise<void> {
  if (drafter === 'none') {
    await line(`${colours.bold('Plain.')} Each round, a pass of the model, gives one token.`);
    return;
  }
  await line(
    `${colours.bold('Speculative.')} The drafter "${drafter}" guesses up to ${width - 1} tokens; a round looks at all of them in one pass, keeps those that the model would have chosen itself, and adds one of its own.`,
  );
  if (showsColours) await line(colourLegend());
}

function generation(model: LoadedModel, flags: DemoFlags, { drafter, signal }: Teller, rounds: boolean) {
  return model.generate(flags.prompt, {
    drafter,
    maxTokens: flags.tokens,
    sampling: { temperature: flags.temperature, seed: flags.seed },
    width: flags.width,
    rounds,
    signal,
  });
}

async function tell(model: LoadedModel, flags: DemoFlags, teller: Teller): Promise<Telling> {
  const told = generation(model, flags, teller, false);
  if (!flags.json) {
    await writeOut(printable(flags.prompt));
    for await (const piece of told) {
      await writeOut(teller.drafter === 'none' ? printable(piece.text) : colouredPiece(piece));
    }
    await line('\n');
  }
  return { drafter: teller.drafter, result: await told.result };
}

/** Draws the first rounds. They are run once more, since the clock that times their parts would slow the telling down. */
async function showRounds(model: LoadedModel, flags: DemoFlags, teller: Teller): Promise<void> {
  const pieces: GenerationPiece[] = [];
  const picture: string[] = [];
  for await (const piece of generation(model, flags, teller, true)) {
    const name = `${pieces.push(piece)}  `;
    const lines = treePicture(piece.round!, (process.stdout.columns ?? 100) - name.length);
    const shown = lines.length > drawn.linesOfRound ? [...lines.slice(0, drawn.linesOfRound - 1), '…'] : lines;
    picture.push(...shown.map((text, at) => (at === 0 ? name : ' '.repeat(name.length)) + text));
    if (pieces.length === drawn.rounds || picture.length > drawn.lines - drawn.linesOfRound) break;
  }
  await line(colours.bold('The first speculative rounds'));
  await line(colours.dim('From left to right what was kept: → chosen by the model itself, ✗ a guess that it refused.'));
  for (const text of picture) await line(text);
  const times = pieces.flatMap(({ round }) => round!.times ?? []);
  if (times.length > 0) {
    const mean = (of: (one: (typeof times)[number]) => number): string =>
      (times.reduce((sum, one) => sum + of(one), 0) / times.length).toFixed(2);
    await line(
      `A round took the GPU: draft ${mean(({ draftMs }) => draftMs)} ms, verify ${mean(({ verifyMs }) => verifyMs)} ms, commit ${mean(({ commitMs }) => commitMs)} ms.`,
    );
  }
  await line();
}

/** The first shares, as many as stay readable in a cell. */
function sharesText(shares: readonly number[]): string {
  const first = shares.slice(0, 4).map((share) => `${Math.round(100 * share)} %`);
  return first.length === 0 ? '-' : [...first, ...(shares.length > 4 ? ['…'] : [])].join(', ');
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
      row('accepted at depth 1, 2, …', ({ acceptanceByDepth }) => sharesText(acceptanceByDepth)),
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
  if (adapter.kind === 'software') {
    await line('Fewer rounds make it faster on a GPU, where a pass over a few tokens takes about as long as over one.');
    await line('No GPU computes here, so a round takes longer the more it looks at.');
  }
}
