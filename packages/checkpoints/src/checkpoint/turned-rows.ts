/**
 * Brings the rows of heads back into the order of transformers. Files of llama.cpp hold the two halves of each head in turn: rows
 * 0, n/2, 1, n/2 + 1, … of its n. Rows are moved whole, so that blocks stay as they are.
 *
 * @param bytes - Whole heads; changed in place.
 * @param headRows - n, even.
 */
export function turnRowsBack(bytes: Uint8Array, headRows: number, rowBytes: number): void {
  const headBytes = headRows * rowBytes;
  const half = headRows / 2;
  const head = new Uint8Array(headBytes);
  for (let begin = 0; begin < bytes.length; begin += headBytes) {
    head.set(bytes.subarray(begin, begin + headBytes));
    for (let row = 0; row < headRows; row++) {
      const stored = row < half ? 2 * row : 2 * (row - half) + 1;
      bytes.set(head.subarray(stored * rowBytes, (stored + 1) * rowBytes), begin + row * rowBytes);
    }
  }
}
