/** Marks an empty place of a suffix array that is being built. */
const empty = 0xffff_ffff;

/** One past the last (`ends`) or the first place of each symbol's stretch of a suffix array. */
function bucketPlaces(counts: Uint32Array, ends: boolean): Uint32Array {
  const places = new Uint32Array(counts.length);
  let sum = 0;
  for (let symbol = 0; symbol < counts.length; symbol++) {
    if (!ends) places[symbol] = sum;
    sum += counts[symbol]!;
    if (ends) places[symbol] = sum;
  }
  return places;
}

/** Text whose last symbol is a 0 that occurs nowhere else, and what is known of it. */
interface Text {
  readonly symbols: Uint32Array;
  readonly counts: Uint32Array;
  /** 1 where the suffix is smaller than the one behind it. */
  readonly small: Uint8Array;
}

function readText(symbols: Uint32Array, alphabet: number): Text {
  const counts = new Uint32Array(alphabet);
  for (const symbol of symbols) counts[symbol]!++;
  const small = new Uint8Array(symbols.length);
  small[symbols.length - 1] = 1;
  for (let i = symbols.length - 2; i >= 0; i--) {
    small[i] = symbols[i]! < symbols[i + 1]! || (symbols[i] === symbols[i + 1] && small[i + 1] === 1) ? 1 : 0;
  }
  return { symbols, counts, small };
}

const isLeftmostSmall = (small: Uint8Array, i: number) => i > 0 && small[i] === 1 && small[i - 1] === 0;

/** Sorts all suffixes, given the leftmost small ones of each run in their order. */
function induce({ symbols, counts, small }: Text, leftmost: Uint32Array, suffixes: Uint32Array): void {
  suffixes.fill(empty);
  const ends = bucketPlaces(counts, true);
  for (let k = leftmost.length - 1; k >= 0; k--) suffixes[--ends[symbols[leftmost[k]!]!]!] = leftmost[k]!;
  const begins = bucketPlaces(counts, false);
  for (let k = 0; k < suffixes.length; k++) {
    const before = suffixes[k]! - 1;
    if (suffixes[k] !== empty && before >= 0 && small[before] === 0) suffixes[begins[symbols[before]!]!++] = before;
  }
  const again = bucketPlaces(counts, true);
  for (let k = suffixes.length - 1; k >= 0; k--) {
    const before = suffixes[k]! - 1;
    if (suffixes[k] !== empty && before >= 0 && small[before] === 1) suffixes[--again[symbols[before]!]!] = before;
  }
}

/** Whether two substrings between leftmost small suffixes are the same. */
function sameSubstring({ symbols, small }: Text, a: number, b: number): boolean {
  for (let i = 0; ; i++) {
    if (symbols[a + i] !== symbols[b + i] || small[a + i] !== small[b + i]) return false;
    if (i > 0 && (isLeftmostSmall(small, a + i) || isLeftmostSmall(small, b + i))) {
      return isLeftmostSmall(small, a + i) && isLeftmostSmall(small, b + i);
    }
  }
}

function sortSuffixes(symbols: Uint32Array, alphabet: number): Uint32Array {
  const text = readText(symbols, alphabet);
  const suffixes = new Uint32Array(symbols.length);
  let found = 0;
  for (let i = 1; i < symbols.length; i++) if (isLeftmostSmall(text.small, i)) found++;
  const leftmost = new Uint32Array(found);
  for (let i = 1, k = 0; i < symbols.length; i++) if (isLeftmostSmall(text.small, i)) leftmost[k++] = i;
  induce(text, leftmost, suffixes);
  if (found <= 1) return suffixes;

  // Substrings are sorted now: equal ones get equal names, and the text of names is sorted in their place.
  const names = new Uint32Array(symbols.length).fill(empty);
  let name = -1;
  let last = empty;
  for (const suffix of suffixes) {
    if (!isLeftmostSmall(text.small, suffix)) continue;
    if (last === empty || !sameSubstring(text, last, suffix)) name++;
    names[suffix] = name;
    last = suffix;
  }
  const reduced = leftmost.map((suffix) => names[suffix]!);
  const order = name + 1 < found ? sortSuffixes(reduced, name + 1) : invert(reduced);
  induce(
    text,
    order.map((k) => leftmost[k]!),
    suffixes,
  );
  return suffixes;
}

function invert(ranks: Uint32Array): Uint32Array {
  const order = new Uint32Array(ranks.length);
  ranks.forEach((rank, i) => (order[rank] = i));
  return order;
}

/**
 * Positions of all suffixes of a text in the order of the suffixes; one that is the beginning of another comes first. Linear in the
 * length of the text.
 *
 * Source: Nong, Zhang and Chan 2009, "Linear Suffix Array Construction by Almost Pure Induced-Sorting".
 */
export function suffixArray(tokens: Uint32Array): Uint32Array<ArrayBuffer> {
  const distinct = [...new Set(tokens)].sort((a, b) => a - b);
  const rankOf = new Map(distinct.map((token, rank) => [token, rank + 1]));
  const symbols = new Uint32Array(tokens.length + 1);
  for (let i = 0; i < tokens.length; i++) symbols[i] = rankOf.get(tokens[i]!)!;
  return sortSuffixes(symbols, distinct.length + 1).slice(1);
}
