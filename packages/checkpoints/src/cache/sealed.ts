/** First bytes of a sealed blob. */
const mark = new TextEncoder().encode('FRB1');

const digestBytes = 32;

/** SHA-256. */
export async function sha256(bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await globalThis.crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>));
}

/** First 16 bytes of the SHA-256 of a text, in hexadecimal. */
export async function textKey(text: string): Promise<string> {
  const digest = await sha256(new TextEncoder().encode(text));
  return Array.from(digest.subarray(0, 16), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** `payload` behind a mark and its digest, as it is stored. */
export async function seal(payload: Uint8Array): Promise<Uint8Array> {
  const sealed = new Uint8Array(mark.length + digestBytes + payload.length);
  sealed.set(mark);
  sealed.set(await sha256(payload), mark.length);
  sealed.set(payload, mark.length + digestBytes);
  return sealed;
}

/** What was sealed; undefined when the blob is damaged, or does not have `expectedBytes` (where given). */
export async function unseal(sealed: Uint8Array, expectedBytes?: number): Promise<Uint8Array | undefined> {
  const head = mark.length + digestBytes;
  if (sealed.length < head || !sameBytes(sealed.subarray(0, mark.length), mark)) return undefined;
  const payload = sealed.subarray(head);
  if (expectedBytes !== undefined && payload.length !== expectedBytes) return undefined;
  return sameBytes(await sha256(payload), sealed.subarray(mark.length, head)) ? payload : undefined;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}
