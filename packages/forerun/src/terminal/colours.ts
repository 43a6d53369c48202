import pico from 'picocolors';
import type { GenerationPiece } from '../model/generation.ts';
import { printable } from './printable.ts';

/** Whether stdout shows colours; `NO_COLOR` and `FORCE_COLOR` decide otherwise. */
export const showsColours = pico.isColorSupported;

/** The colours, or nothing where they are not shown. */
export const colours = pico.createColors(showsColours);

/**
 * Guesses that were accepted are green, tokens of the model itself blue, rejected guesses red and struck through. Without colours only
 * the text is left.
 */
export function colouredPiece(piece: GenerationPiece): string {
  if (!showsColours) return printable(piece.text);
  const kept = piece.tokens.map(({ text, origin }) =>
    coloured(text, origin === 'draft' ? colours.green : colours.blueBright),
  );
  const refused = piece.rejected.map(({ text }) =>
    colours.red(colours.strikethrough(printable(text).replaceAll('\n', '\\n'))),
  );
  // They were guesses for the place of the model's own token, so they stand before it.
  return [...kept.slice(0, -1), ...refused, ...kept.slice(-1)].join('');
}

/** Colours each line by itself, so that none runs into the next. */
function coloured(text: string, colour: (text: string) => string): string {
  return printable(text)
    .split('\n')
    .map((part) => (part === '' ? '' : colour(part)))
    .join('\n');
}

/** The meaning of the colours. */
export function colourLegend(): string {
  return [
    `${colours.green('accepted guess')}`,
    `${colours.blueBright('token of the model itself')}`,
    `${colours.red(colours.strikethrough('rejected guess'))}`,
  ].join('   ');
}
