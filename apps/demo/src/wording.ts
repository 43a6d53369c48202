/** Words and numbers as the page writes them. */

const drafterWords: Readonly<Record<string, string>> = {
  none: 'nobody (plain)',
  'n-gram': 'look-up in the text',
  'draft-model': 'a draft model',
  'early-exit': "the model's first layers",
  suffix: 'suffixes of the text',
  'token-recycling': 'token recycling',
  lookahead: 'lookahead',
  medusa: 'Medusa heads',
  hydra: 'Hydra heads',
  eagle: 'an EAGLE head',
  mtp: 'an MTP module',
  block: 'a block drafter',
};

/** Who guesses, in words; a drafter that the page does not know goes by its name. */
export function drafterText(name: string): string {
  return drafterWords[name] ?? name;
}

/** A token where its spaces and line ends have to be seen; one without text goes by its number. */
export function tokenText(text: string, id: number): string {
  return lineText(text, id).replaceAll(' ', '·').replaceAll('\t', '→');
}

/** A token that must not begin a new line. */
export function lineText(text: string, id: number): string {
  return text === '' ? `#${id}` : text.replaceAll(/\r?\n/g, '\\n');
}

/** A share as a percentage. */
export function shareText(share: number): string {
  return `${Math.round(100 * share)} %`;
}

/** Milliseconds with as many digits as say something. */
export function msText(ms: number): string {
  return `${ms.toFixed(ms < 10 ? 2 : 1)} ms`;
}
