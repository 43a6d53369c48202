/** Writes to stdout and resolves when the text was taken, so that an exit right after cuts nothing off. */
export function writeOut(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(text, (error) => (error ? reject(error) : resolve()));
  });
}

/** One line to stdout. */
export function line(text = ''): Promise<void> {
  return writeOut(`${text}\n`);
}

/** JSON in one line; 64-bit seeds become numbers where they fit, else strings. */
function jsonText(value: unknown): string {
  return JSON.stringify(value, (_, item: unknown) => {
    if (typeof item !== 'bigint') return item;
    return item <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(item) : String(item);
  });
}

/** A line of JSON on stdout. */
export function jsonLine(value: unknown): Promise<void> {
  return line(jsonText(value));
}

/** A line of JSON on stderr: part of a result that stdout gets whole at the end, for the case that there is no end. */
export function noteJson(value: unknown): void {
  process.stderr.write(`${jsonText(value)}\n`);
}
