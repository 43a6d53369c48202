/** A bar of `share` (0 to 1) of `cells` characters; `|` stands at `mark`, a share too. */
export function bar(share: number, { cells, mark }: { readonly cells: number; readonly mark?: number }): string {
  const full = Math.round(Math.min(1, Math.max(0, share)) * cells);
  const at = mark === undefined ? -1 : Math.min(cells - 1, Math.round(mark * cells));
  return Array.from({ length: cells }, (_, cell) => {
    if (cell === at) return '|';
    return cell < full ? '█' : ' ';
  }).join('');
}
